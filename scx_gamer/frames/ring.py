# SPDX-License-Identifier: GPL-2.0-or-later
"""Times that a hook writes into the ring of a mapped struct."""

from __future__ import annotations

from scx_gamer.libbpf import StructView


class TimeRing:
    """Reader of a ring whose struct counts in `nr` and has time n in slot n % `slots` of the array `field`."""

    def __init__(self, view: StructView, field: str, slots: int, seen: int) -> None:
        """Begin after the first `seen` times."""
        self._view, self._field, self._slots, self._seen = view, field, slots, seen
        self._newest_ns = 0

    def new(self) -> tuple[list[int], int]:
        """Return the times in ns since the last call, oldest first, and the one before them; 0 if that is unknown."""
        count, seen, before_ns = self._view.get("nr"), self._seen, self._newest_ns
        if count == seen:
            return [], before_ns
        first = max(seen, count - self._slots + 1)  # one slot may be written now
        self._seen = count
        ring = self._view.array(self._field)
        times = [ring[number % self._slots] for number in range(first, count)]
        self._newest_ns = times[-1]
        return times, 0 if first > seen else before_ns
