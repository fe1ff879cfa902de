# SPDX-License-Identifier: GPL-2.0-or-later
"""The one gate for hints of user sessions, whichever way they come: hints socket, control socket or bus.

A hint says which process has the focus, or that GameMode or `exec` has one for a game. It never names a file. It is
taken for processes of the caller's own user, from the session in front, and for that user's games; anything else is
refused with its reason.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from scx_gamer.control import ControlError, LimitError
from scx_gamer.system.budget import Budget
from scx_gamer.system.exit_codes import FAILED, NO_PERMISSION, USAGE
from scx_gamer.system.procfs import uids_of
from scx_gamer.system.text import printable

FOCUS, GAMEMODE = "focus", "gamemode"
PER_SECOND = 10.0
BURST = 20.0
OLDEST_S = 5.0
# What becomes of a hint: counted from the start, so that a counter that is not there means something.
RESULTS = ("used", "unused", "malformed", "owner", "rate", "session", "stale")
_FUTURE_S = 1.0
_MAX_WHY = 160  # characters
_KINDS = {FOCUS: ("focus", "focus"), GAMEMODE: ("game", "game-gone")}  # active, not active
_SOURCE = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class HintError(ControlError):
    """A hint that is refused; `reason` is a word to count it by."""

    def __init__(self, what: str, code: int, reason: str) -> None:
        super().__init__(what, code)
        self.reason = reason


class Hints:
    """The way in for hints. `offer` gets those that count."""

    def __init__(
        self,
        offer: Callable[[str, int, str], bool],
        session_active: Callable[[int], bool | None],
        game_owners: Callable[[], Iterable[int]],
        *,
        proc: Path = Path("/proc"),
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`session_active`: whether a user sits in front; None where nobody can tell, which counts as yes."""
        self._offer = offer
        self._session_active = session_active
        self._game_owners = game_owners
        self._proc = proc
        self._now_ns = now_ns
        self._budget = Budget(PER_SECOND, BURST, now_ns)
        self.focus_why = ""  # why the focus is unknown, or known in part, in the agent's words
        self.results: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))

    def take(self, request: Mapping[str, Any], uid: int) -> dict[str, object]:
        """Take one hint of the user `uid`. `used` is false when it says nothing new.

        Raises HintError, and LimitError for one too many.
        """
        if not self._budget.take(uid):
            self.results["rate"] += 1
            raise LimitError(f"more than {PER_SECOND:g} hints a second")
        try:
            kind, pid, active, source = _read(request)
            why = _why(request)
            self._check_age(request.get("time_ns"))
            self._check(uid, kind, pid)
        except HintError as err:
            self.results[err.reason] += 1
            raise
        if kind == FOCUS:
            self.focus_why = why
        used = self._offer(source, pid, _KINDS[kind][0 if active else 1])
        self.results["used" if used else "unused"] += 1
        return {"used": used}

    def _check_age(self, time_ns: object) -> None:
        if time_ns is None:
            return
        if type(time_ns) is not int:
            raise HintError("give time_ns as a whole number", USAGE, "malformed")
        age_s = (self._now_ns() - time_ns) / 1e9
        if not -_FUTURE_S <= age_s <= OLDEST_S:
            raise HintError("too old, or from the future, to mean anything", FAILED, "stale")

    def _check(self, uid: int, kind: str, pid: int) -> None:
        if pid and not self._owns(uid, pid):
            raise HintError(f"process {pid} is not yours", NO_PERMISSION, "owner")
        if uid == 0:
            return
        if self._session_active(uid) is False:
            raise HintError("your session is not the active one", NO_PERMISSION, "session")
        if kind == FOCUS and any(owner != uid for owner in self._game_owners()):
            raise HintError("a game of another user runs", NO_PERMISSION, "owner")

    def _owns(self, uid: int, pid: int) -> bool:
        """Real, effective and saved user must all be the caller: a set-uid program is not his to speak for."""
        owners = uids_of(pid, self._proc)
        return bool(owners) and (uid == 0 or owners == {uid})


def _read(request: Mapping[str, Any]) -> tuple[str, int, bool, str]:
    """Kind, pid, active and source of a well-formed hint."""
    kind, pid, active = request.get("kind"), request.get("pid"), request.get("active", True)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise HintError(f"kind is one of {', '.join(_KINDS)}", USAGE, "malformed")
    if type(pid) is not int or not 0 <= pid < 1 << 31 or pid == 1 or (pid == 0 and kind != FOCUS):
        raise HintError("give the process as a number: pid", USAGE, "malformed")
    if type(active) is not bool:
        raise HintError("active is true or false", USAGE, "malformed")
    source = request.get("source", "agent")
    if not isinstance(source, str) or not _SOURCE.fullmatch(source):
        raise HintError("a source is one short word", USAGE, "malformed")
    return kind, pid, active, source


def _why(request: Mapping[str, Any]) -> str:
    """Return the reason for an unknown focus, cut to one line that the status has room for."""
    why = request.get("why", "")
    if not isinstance(why, str):
        raise HintError("the reason has to be text", USAGE, "malformed")
    return printable(why, _MAX_WHY)
