# SPDX-License-Identifier: GPL-2.0-or-later
"""Times that a hook writes into the ring of a mapped struct."""

from __future__ import annotations

from scx_gamer.libbpf import StructView


class TimeRing:
    """Reader of a ring whose struct counts in `nr` and has time n in slot n % `slots` of the array `field`."""

    def __init__(self, view: StructView, field: str, slots: int, seen: int) -> None:
        """Begin after the first `seen` times."""
        self._view, self._field, self._slots, self._seen = view, field, slots, seen

    def new(self) -> tuple[list[int], bool]:
        """Return the times in ns since the last call, oldest first, and whether older ones were overwritten."""
        count, seen = self._view.get("nr"), self._seen
        if count == seen:
            return [], False
        first = max(seen, count - self._slots + 1)  # one slot may be written now
        self._seen = count
        ring = self._view.array(self._field)
        return [ring[number % self._slots] for number in range(first, count)], first > seen
