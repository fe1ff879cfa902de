# SPDX-License-Identifier: GPL-2.0-or-later
"""Maxima of the last minute, of sources that keep one until it is taken.

The kernel may write while a maximum is taken, because no atomics guard it: it is then lost, or counted twice.
"""

from __future__ import annotations

from scx_gamer.scheduler.counters import Values, largest
from scx_gamer.service.services import Services
from scx_gamer.system.loop import Loop

PERIOD_S = 30.0
_OF_CONTROL = {"exec_to_class": "class_delay_max_ns", "input_delay": "input_delay_max_ns"}
TAKEN = frozenset(_OF_CONTROL.values())  # shown here alone


class RecentMaxima:
    """Maxima of this period and the one before, in nanoseconds: 30 to 60 s."""

    def __init__(self, services: Services, loop: Loop) -> None:
        self._services, self._loop = services, loop
        self._before: Values = {}
        self._next_ns = loop.now_ns()

    def values(self) -> Values:
        """Return them by name, those of waits by class. Changes nothing."""
        found = self._read()
        largest(found, self._before)
        return found

    def waits(self) -> list[int]:
        """Return the longest waits for a CPU, by class; empty before the first scheduler."""
        found: Values = {}
        for waits in (self._services.generations.waits_max(), self._before.get("wait", [])):
            largest(found, {"wait": waits} if waits else {})
        return found.get("wait", [])

    def roll(self) -> None:
        """Begin a new period where one has ended."""
        if self._loop.now_ns() < self._next_ns:
            return
        self._next_ns = self._loop.now_ns() + int(PERIOD_S * 1e9)
        self._before = self._read()
        for field in _OF_CONTROL.values():
            self._services.observe.control.set(field, 0)
        self._services.generations.clear_maxima()
        self._loop.clear_recent()

    def _read(self) -> Values:
        services, loop = self._services, self._loop.stats()
        control, attached = services.observe.control, services.generations.attached
        found = {name: [control.get(field)] for name, field in _OF_CONTROL.items()}
        found["loop_lag"], found["loop_pass"] = [loop.lag_recent_ns], [loop.pass_recent_ns]
        found["oldest_wait"] = [attached.state.get("oldest_wait_recent_ns") if attached else 0]
        waits = services.generations.waits_max()
        return found | ({"wait": waits} if waits else {})
