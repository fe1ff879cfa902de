# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables for people: the map of tests/vm in tests/README.md, what a run of `make test-all` ran, and what was red."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.suite.jobs import SET_UP, Result
from tests.suite.plan import Folder, Plan
from tests.vm.vmlib import kernels

_DURATION = re.compile(r"^([\d.]+)s (?:setup|call|teardown) +(.+)$", re.MULTILINE)
_RED = re.compile(r"^(?:FAILED|ERROR|SKIPPED) .+$", re.MULTILINE)
_LAST = 12


def _kernels(names: Sequence[str]) -> str:
    return "every kernel" if list(names) == kernels.names() else ", ".join(names)


def _guest(folder: Folder) -> str:
    return f"{folder.guest.name}, {folder.cpus} CPU{'s' if folder.cpus > 1 else ''}"


def markdown(plan: Plan) -> str:
    """Both tables of tests/README.md."""
    lines = ["| folder | about | guest | `make test` | `make test-all` |", "|---|---|---|---|---|"]
    for one in plan.folders.values():
        row = (
            f"`{one.name}`",
            one.about,
            _guest(one),
            _kernels(one.test) or "-",
            _kernels(one.rest) or "-",
        )
        lines.append(f"| {' | '.join(row)} |")
    lines += [
        "",
        "| only in `make test-all` | why | what finds its faults in `make test` |",
        "|---|---|---|",
    ]
    for one in plan.folders.values():
        if not one.test:
            lines.append(f"| `{one.name}` | {one.reason} | {one.instead} |")
    lines += ["", "| also in `make test-all` | command | why |", "|---|---|---|"]
    lines += [f"| {one.name} | `{one.command}` | {one.reason} |" for one in plan.extras]
    return "\n".join(lines)


def what_ran(results: Sequence[Result]) -> list[str]:
    """A line for each part, in the order of their names."""
    parts = sorted((r for r in results if r.tier != SET_UP), key=lambda r: (r.tier, r.name))
    width = max((len(r.name) for r in parts), default=0)
    return ["This ran:"] + [
        f"  {r.name:<{width}}  {r.passed} passed, {r.failed} failed  ({r.seconds:.0f} s)"
        for r in parts
    ]


def slowest(results: Sequence[Result], count: int) -> list[str]:
    """The tests that took longest by the clock of where they ran, from pytest's own lists of durations."""
    found = [
        (float(seconds), r.tier, test)
        for r in results
        for seconds, test in _DURATION.findall(r.output)
    ]
    found.sort(reverse=True)
    return ["Slowest tests:"] + [
        f"{s:6.0f} s  {tier:<8}  {test}" for s, tier, test in found[:count]
    ]


def red(results: Sequence[Result]) -> list[str]:
    """Return pytest's own lines of what failed, or the last lines where it wrote none, for logs that are cut."""
    lines = []
    for r in (r for r in results if r.failed):
        lines.append(f"RED {r.tier} {r.name}:")
        said = _RED.findall(r.output) or r.output.splitlines()[-_LAST:]
        lines += [f"  {line[:200]}" for line in said]
    return lines
