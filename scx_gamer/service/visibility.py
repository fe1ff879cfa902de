# SPDX-License-Identifier: GPL-2.0-or-later
"""The games that each user may see: on a machine with hidepid, a game is nobody's business but its player's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scx_gamer.control import ControlError
from scx_gamer.system.exit_codes import NO_PERMISSION
from scx_gamer.system.procfs import PROC, uids_of

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import GameFacts

SEAT, ALL = "seat", "all"  # of the setting games.visible_to
UNNAMED = "a game"


class Visibility:
    """Root and the users in front of a seat see all games, others their own; with ALL everybody sees all."""

    def __init__(
        self, setting: str, session_active: Callable[[int], bool | None], proc: Path = PROC
    ) -> None:
        """`session_active`: None where no login manager tells, which counts as yes."""
        self.everybody = setting == ALL
        self._session_active = session_active
        self._proc = proc

    def sees_all(self, uid: int) -> bool:
        return uid == 0 or self.everybody or self._session_active(uid) is not False

    def games(self, rows: Sequence[GameFacts], uid: int) -> list[GameFacts]:
        """Return the rows that the user may see."""
        if self.sees_all(uid):
            return list(rows)
        return [row for row in rows if uids_of(row["pid"], self._proc) == {uid}]

    def public(self, rows: Sequence[GameFacts]) -> list[GameFacts]:
        """Return the rows for files that everybody reads: without names unless everybody sees all."""
        if self.everybody:
            return list(rows)
        hidden = {"comm": UNNAMED, "name": UNNAMED, "reason": "", "app_id": ""}
        return [{**row, **hidden} for row in rows]  # type: ignore[typeddict-item]

    def check_process(self, pid: int, uid: int) -> None:
        """Raise ControlError unless the process is the user's own, or the user root."""
        if uid != 0 and uids_of(pid, self._proc) != {uid}:
            raise ControlError(f"process {pid} is not yours", NO_PERMISSION)
