# SPDX-License-Identifier: GPL-2.0-or-later
"""Counters of the scheduler, summed over CPUs and over generations."""

from __future__ import annotations

from scx_gamer.libbpf import Btf, Mapped, StructView

Values = dict[str, list[int]]  # a number is a list of one

_MAXIMA = frozenset({"wait_max_ns"})


def fields_of(btf: Btf, struct: str) -> tuple[str, ...]:
    """Return the names of a struct's numbers."""
    return tuple(name for name in btf.struct(struct).fields if name != "pad")


def read(view: StructView, names: tuple[str, ...]) -> Values:
    """Read the values of one struct."""
    return {name: list(view.array(name)) for name in names}


def merge(into: Values, more: Values) -> None:
    """Add `more` to `into`; maxima by maximum."""
    for name, values in more.items():
        have = into.get(name)
        if have is None:
            into[name] = list(values)
        elif name in _MAXIMA:
            into[name] = [max(pair) for pair in zip(have, values, strict=True)]
        else:
            into[name] = [a + b for a, b in zip(have, values, strict=True)]


def over_cpus(stats: Mapped, names: tuple[str, ...]) -> Values:
    """Return one struct, summed over all CPUs."""
    total: Values = {}
    for view in stats:
        merge(total, read(view, names))
    return total
