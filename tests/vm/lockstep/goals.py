# SPDX-License-Identifier: GPL-2.0-or-later
"""Goals for a matrix of cells, relative to the same game without load under the kernel's default scheduler."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from scx_gamer.bench.cells import Cell
from scx_gamer.bench.session import OURS

UNMARKED = "unmarked"


@dataclass(frozen=True)
class Limits:
    """Limits on a cell: the least share on time, and multiples of the idle machine's figures."""

    on_time: float
    frame_p99: float
    low1: float
    input_p99: float
    background: float = 0.0  # least share of the work done under the default scheduler
    input_p999: float = 0.0  # 0: no limit
    input_p99_us: float = 0.0  # absolute limit, which replaces the multiple


_CALM = Limits(1.0, 1.01, 0.99, 1.05)
_HOGS = Limits(1.0, 1.02, 0.99, 1.1, 0.99)
_MANY_HOGS = Limits(0.998, 1.05, 0.97, 1.25, 0.99)
_STORM = Limits(0.998, 1.05, 0.97, 1.5, 0.97, input_p999=5.0)
_WAKERS = Limits(0.998, 1.05, 0.97, 1.5, 0.97)
_WORKERS = Limits(1.0, 1.02, 0.99, 0.0, 0.99, input_p99_us=200.0)
_UNMARKED = Limits(1.0, 1.3, 0.9, 1.5, 0.99)
# No game runs: background work and wake-ups within these shares of the default's.
_AT_REST = {
    "none": Limits(1.0, 1.03, 0.97, 1.03),
    "compile": Limits(0.0, 0.0, 0.0, 0.0, 0.99),
    "messaging": Limits(0.0, 0.0, 0.0, 0.0, 0.95),
    "pingpong": Limits(0.0, 0.0, 0.0, 0.0, 0.97),
}
BY_LOAD = {
    "none": _CALM,
    "hogs": _HOGS,
    "hogs-8": _MANY_HOGS,
    "compile": _STORM,
    "forkexec": _STORM,
    "messaging": _WAKERS,
    "pipes": _WAKERS,
    "browser": _WAKERS,
    "memory": _WAKERS,
    "pinned": _HOGS,
}
# On a machine of unequal CPUs: least share of the work done beside SCHED_RR, which a busy sibling slows down as well.
_MACHINE_BACKGROUND = {
    "smt8": 0.8,
    "deck8": 0.8,
    "x3d16": 0.95,
    "hybrid12": 0.95,
    "parked": 0.95,
    "rk3588": 0.95,
}
_MACHINE_LOADS = ("none", "hogs", "compile", "browser")


def limits_for(cell: Cell) -> Limits | None:
    """Return the limits of a cell, None if it has no goal."""
    kind = cell.load.split("-")[0]
    if cell.machine in _MACHINE_BACKGROUND:
        if cell.scheduler != OURS or kind not in _MACHINE_LOADS:
            return None
        return Limits(1.0, 1.05, 0.95, 0.0, _MACHINE_BACKGROUND[cell.machine])
    if cell.shape == "desktop":
        return _AT_REST.get(kind) if cell.scheduler == UNMARKED else None
    if cell.scheduler == UNMARKED:
        return _UNMARKED if cell.load == "hogs-2" else None
    if cell.scheduler != OURS:
        return None
    if cell.shape == "workers" and kind in ("none", "hogs"):
        return _WORKERS
    return BY_LOAD.get(cell.load, BY_LOAD.get(kind))


@dataclass(frozen=True)
class Check:
    """A figure and its limit, which is a lower bound if `at_least` is true, else an upper bound."""

    cell: Cell
    what: str
    value: float
    limit: float
    at_least: bool

    @property
    def ok(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = "ok" if self.ok else "MISSED"
        return (
            f"{self.cell.load:<12} {self.cell.shape:<9} {self.cell.scheduler:<10} {self.what:<16}"
            f" {self.value:10.3f} {sign} {self.limit:10.3f}  {verdict}"
        )


def _find(cells: Sequence[Cell], like: Cell, load: str, scheduler: str) -> Cell | None:
    wanted = replace(like, load=load, scheduler=scheduler)
    return next((c for c in cells if _place(c) == _place(wanted)), None)


def _place(c: Cell) -> tuple[str, int, str, str, str]:
    return c.machine, c.cpus, c.shape, c.load, c.scheduler


def checks(cells: Sequence[Cell]) -> Iterator[Check]:
    """Yield a check for each goal of each cell. Cells without their reference cell are skipped."""
    for cell in cells:
        limits = limits_for(cell)
        idle = _find(cells, cell, "none", "default")
        if limits is None or idle is None:
            continue
        frame_idle = idle.frame_latency_us.p99
        rr = _find(cells, cell, "none", "rr")
        if cell.shape == "workers" and rr is not None:
            frame_idle = min(frame_idle, rr.frame_latency_us.p99)
        if limits.frame_p99:
            yield Check(cell, "frames on time", cell.on_time_ratio, limits.on_time, True)
            at_most = frame_idle * limits.frame_p99
            yield Check(cell, "frame p99, us", cell.frame_latency_us.p99, at_most, False)
            yield Check(cell, "1 % low, fps", cell.low1_fps, idle.low1_fps * limits.low1, True)
            at_most = limits.input_p99_us or idle.input_latency_us.p99 * limits.input_p99
            if at_most:
                yield Check(cell, "input p99, us", cell.input_latency_us.p99, at_most, False)
            yield Check(cell, "audio underruns", cell.audio_underruns, 0, False)
        if limits.input_p999:
            at_most = idle.input_latency_us.p99 * limits.input_p999
            yield Check(cell, "input p99.9, us", cell.input_latency_us.p999, at_most, False)
        other = _find(
            cells, cell, cell.load, "rr" if cell.machine in _MACHINE_BACKGROUND else "default"
        )
        if other is not None and other.background_work:
            share = cell.background_work / other.background_work
            yield Check(cell, "background share", share, limits.background, True)
