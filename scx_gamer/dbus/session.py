# SPDX-License-Identifier: GPL-2.0-only
"""What a user's session reports: which window has the focus, which process is a game. Hints, and of their own only."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from scx_gamer.control import ControlError
from scx_gamer.control.server import Operation
from scx_gamer.dbus import wire
from scx_gamer.dbus.connection import Connection

if TYPE_CHECKING:
    from scx_gamer.dbus.service import Call

_LOGIN = "org.freedesktop.login1"
_PER_SECOND = 10.0
_BURST = 30.0
_KNOWN = 64
_STATE_KEPT_NS = 5_000_000_000
_SOURCE = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class Session:
    """Reports over one connection; made anew with it."""

    def __init__(self, bus: Connection, operations: Mapping[str, Operation]) -> None:
        self._bus = bus
        self._operations = operations
        self._room: OrderedDict[int, tuple[float, int]] = OrderedDict()  # uid -> left, when
        self._states: OrderedDict[int, tuple[str, int]] = OrderedDict()

    def report(self, call: Call, member: str) -> None:
        if not self._has_room(call.uid):
            call.refuse("org.freedesktop.DBus.Error.LimitsExceeded", "too many reports a second")
            return
        pid = int(call.args[0])
        if not (pid == 0 and member == "ReportFocus") and not _owns(call.uid, pid):
            call.denied("a report is about a process of your own")
            return

        def known(active: bool) -> None:
            if not active:
                call.denied("a report comes from the active session")
                return
            try:
                self._take(call, member, pid)
            except ControlError as err:
                call.refuse("org.freedesktop.DBus.Error.Failed", str(err))

        self._active(call.uid, known)

    def _take(self, call: Call, member: str, pid: int) -> None:
        if member == "ReportFocus":
            self._hint({"pid": pid, "source": "agent", "kind": "focus"})
        else:
            source, active = call.args[1], call.args[2]
            if not _SOURCE.fullmatch(source):
                call.refuse("org.freedesktop.DBus.Error.InvalidArgs", "a source is one short word")
                return
            kind = "game" if active else "game-gone"
            self._hint({"pid": pid, "source": source, "kind": kind})
        call.answer()

    def _hint(self, args: Mapping[str, Any]) -> None:
        operation = self._operations.get("hint")
        if operation is not None:  # a supervisor that has no use for the hint is no error
            operation.call(args)

    def _has_room(self, uid: int) -> bool:
        now = monotonic_ns()
        left, before = self._room.pop(uid, (_BURST, now))
        left = min(_BURST, left + (now - before) / 1e9 * _PER_SECOND)
        self._room[uid] = (left - 1 if left >= 1 else left, now)
        while len(self._room) > _KNOWN:
            self._room.popitem(last=False)
        return left >= 1

    def _active(self, uid: int, then: Callable[[bool], None]) -> None:
        """Whether the user's session is the one in front; where no login manager runs, everybody's is."""
        if uid == 0:
            then(True)
            return
        state, when = self._states.get(uid, ("", 0))
        if state and monotonic_ns() - when < _STATE_KEPT_NS:
            then(state in ("active", "unknown"))
            return

        def keep(found: str) -> None:
            self._states.pop(uid, None)
            self._states[uid] = (found, monotonic_ns())
            while len(self._states) > _KNOWN:
                self._states.popitem(last=False)
            then(found in ("active", "unknown"))

        def of_user(reply: Any, error: str) -> None:
            if reply is None:
                absent = "ServiceUnknown" in error or "NameHasNoOwner" in error
                keep("unknown" if absent else "offline")
                return
            get = ("org.freedesktop.DBus.Properties", "Get", "ss", [f"{_LOGIN}.User", "State"])
            self._bus.call(wire.call(_LOGIN, str(reply.body[0]), *get), of_state)

        def of_state(reply: Any, _error: str) -> None:
            keep(str(reply.body[0].value) if reply is not None else "offline")

        path = f"/{_LOGIN.replace('.', '/')}"
        self._bus.call(wire.call(_LOGIN, path, f"{_LOGIN}.Manager", "GetUser", "u", [uid]), of_user)


def _owns(uid: int, pid: int) -> bool:
    if pid <= 1:
        return False
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return False
    return uid in (0, owner)
