# SPDX-License-Identifier: GPL-2.0-only
"""Counters over the generations: those of a life that ended go on counting in the totals."""

from __future__ import annotations

from collections.abc import Callable

from scx_gamer.scheduler import counters
from scx_gamer.scheduler.attached import SchedulerLife
from scx_gamer.scheduler.exits import ExitRecord
from scx_gamer.scheduler.machine import Life


class Lives:
    """A life is in its maps or in the totals, never in both."""

    def __init__(self) -> None:
        self._totals: counters.Values = {}
        self._costs: counters.Values = {}  # nanoseconds and runs by program

    def begin(self, inner: SchedulerLife) -> CountedLife:
        return CountedLife(inner, self._end)

    def _end(self, life: CountedLife) -> None:
        life.counting = False
        try:
            counters.merge(self._totals, life.inner.counters())
            counters.merge(self._costs, life.inner.costs())
        finally:
            life.inner.close()

    def counters(self, life: Life | None) -> tuple[counters.Values, counters.Values]:
        """Counters and costs by program of all lives, `life` being the one that runs."""
        totals: counters.Values = {}
        costs: counters.Values = {}
        counters.merge(totals, self._totals)
        counters.merge(costs, self._costs)
        if isinstance(life, CountedLife) and life.counting:
            counters.merge(totals, life.inner.counters())
            counters.merge(costs, life.inner.costs())
        return totals, costs


class CountedLife:
    """A life whose counters are added to the totals when it is closed."""

    def __init__(self, inner: SchedulerLife, end: Callable[[CountedLife], None]) -> None:
        self.inner = inner
        self.generation = inner.generation
        self.counting = True
        self._end = end

    def ended(self) -> ExitRecord | None:
        return self.inner.ended()

    def close(self) -> None:
        if self.counting:
            self._end(self)
