# SPDX-License-Identifier: GPL-2.0-or-later
"""Counters of the scheduler, summed over CPUs and over generations."""

from __future__ import annotations

from scx_gamer.libbpf import Btf, Mapped, StructView

Values = dict[str, list[int]]  # a number is a list of one

MAXIMUM = "wait_max_ns"  # the field that is no sum


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
        elif name == MAXIMUM:
            largest(into, {name: values})
        else:
            into[name] = [a + b for a, b in zip(have, values, strict=True)]


def largest(into: Values, more: Values) -> None:
    """Raise the values of `into` to those of `more` that are larger."""
    for name, values in more.items():
        have = into.get(name, values)
        into[name] = [max(pair) for pair in zip(have, values, strict=True)]


def clear_maxima(stats: Mapped) -> None:
    """Begin anew with the maxima of all CPUs."""
    for view in stats:
        for number in range(len(view.array(MAXIMUM))):
            view.set(f"{MAXIMUM}[{number}]", 0)


def over_cpus(stats: Mapped, names: tuple[str, ...]) -> Values:
    """Return one struct, summed over all CPUs."""
    total: Values = {}
    for view in stats:
        merge(total, read(view, names))
    return total
