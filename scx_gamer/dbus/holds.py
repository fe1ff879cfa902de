# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles held by programs for as long as they want, or live: the newest hold wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scx_gamer.control import ControlError
from scx_gamer.system.exit_codes import FAILED, USAGE

_MAX = 64
_MAX_PER_USER = 8  # over all connections


@dataclass(frozen=True)
class Hold:
    owner: str  # unique bus name
    uid: int
    profile: str
    reason: str


class Holds:
    """`changed(profile, reason)` is called when another hold, or none, decides."""

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        self._changed = changed
        self._holds: dict[int, Hold] = {}
        self._last = 0
        self._told: Hold | None = None

    def take(self, owner: str, uid: int, profile: str, reason: str) -> int:
        """Take a hold and return the cookie that releases it. Raises ControlError."""
        mine = sum(hold.uid == uid for hold in self._holds.values())
        if mine >= _MAX_PER_USER:
            raise ControlError(f"you have {mine} holds: release one", FAILED)
        if len(self._holds) >= _MAX:
            raise ControlError("all users together have too many holds", FAILED)
        self._last = self._last % 0xFFFFFFFF + 1
        self._holds[self._last] = Hold(owner, uid, profile, reason)
        self._tell()
        return self._last

    def release(self, owner: str, cookie: int) -> None:
        """Release a hold. Raises ControlError for one that is not the owner's."""
        hold = self._holds.get(cookie)
        if hold is None or hold.owner != owner:
            raise ControlError("no such hold of yours", USAGE)
        del self._holds[cookie]
        self._tell()

    def left(self, owner: str) -> None:
        """End the holds of a bus name that has left."""
        gone = [cookie for cookie, hold in self._holds.items() if hold.owner == owner]
        for cookie in gone:
            del self._holds[cookie]
        if gone:
            self._tell()

    def clear(self) -> None:
        if self._holds:
            self._holds.clear()
            self._tell()

    def listing(self) -> list[dict[str, str]]:
        return [{"profile": h.profile, "reason": h.reason} for h in self._holds.values()]

    def _tell(self) -> None:
        newest = next(reversed(self._holds.values()), None)
        if newest != self._told:
            self._told = newest
            self._changed(newest.profile if newest else "", newest.reason if newest else "")
