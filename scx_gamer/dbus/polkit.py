# SPDX-License-Identifier: GPL-2.0-or-later
"""Authorization of callers: the user from the bus, the permission from polkit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from scx_gamer.dbus import wire
from scx_gamer.dbus.connection import CALL_TIMEOUT_S, Connection

_INTERACTIVE_TIMEOUT_S = 120.0  # a person types a password
_KNOWN_USERS = 256
_MAX_ASKING = 32
_MAX_ASKING_PER_USER = 4

Verdict = Callable[[bool, str], None]  # (allowed, why not)


class Authority:
    """Asks over one connection; made anew with it. Every question ends in one verdict, at the latest by its timeout."""

    def __init__(self, bus: Connection) -> None:
        self._bus = bus
        self._users: OrderedDict[str, int] = OrderedDict()
        self._waiting: dict[str, list[Callable[[int | None, str], None]]] = {}
        self._asking: dict[int, int] = {}  # uid -> questions that wait

    def user(self, sender: str, then: Callable[[int | None, str], None]) -> None:
        """Call `then` with the uid of a bus name, asked once: a unique name keeps its owner while the bus lives."""
        known = self._users.get(sender)
        if known is not None:
            then(known, "")
            return
        waiting = self._waiting.setdefault(sender, [])
        waiting.append(then)
        if len(waiting) > 1:
            return

        def answered(reply: Any, error: str) -> None:
            uid, why = None, f"the bus does not say who you are: {error}"
            if reply is not None and reply.body and isinstance(reply.body[0], int):
                uid, why = reply.body[0], ""
                self._users[sender] = uid
                while len(self._users) > _KNOWN_USERS:
                    self._users.popitem(last=False)
            for one in self._waiting.pop(sender):
                one(uid, why)

        self._bus.call(wire.to_bus("GetConnectionUnixUser", "s", [sender]), answered)

    def known(self, sender: str) -> int | None:
        """Return the uid of a bus name, None while the bus has not said it; it is asked then."""
        uid = self._users.get(sender)
        if uid is not None:
            self._users.move_to_end(sender)
        elif sender not in self._waiting:
            self.user(sender, lambda _uid, _why: None)
        return uid

    def names(self, accepts: Callable[[int], bool]) -> list[str]:
        """Return the names of connections that have called us, of users that are accepted."""
        users = {uid: accepts(uid) for uid in set(self._users.values())}
        return [name for name, uid in self._users.items() if users[uid]]

    def forget(self, sender: str) -> None:
        self._users.pop(sender, None)

    def may(self, sender: str, uid: int, action: str, then: Verdict, *, interactive: bool) -> None:
        """Ask whether `sender` may do `action`. Root may; without polkit nobody else may."""
        if uid == 0:
            then(True, "")
            return
        waiting = self._asking.get(uid, 0)
        if waiting >= _MAX_ASKING_PER_USER or sum(self._asking.values()) >= _MAX_ASKING:
            then(False, "too many questions of yours wait for an answer")
            return
        self._asking[uid] = waiting + 1

        def answered(reply: Any, error: str) -> None:
            self._asking[uid] -= 1
            if not self._asking[uid]:
                del self._asking[uid]
            if reply is None:
                then(False, f"polkit cannot be asked ({error}); as root it works without")
                return
            allowed, challenge = bool(reply.body[0][0]), bool(reply.body[0][1])
            denied = f"polkit denies {action.rpartition('.')[2]}"
            then(allowed, "it takes a password" if challenge else denied)

        lib = wire.library()
        name = "org.freedesktop.PolicyKit1"
        subject = ["system-bus-name", {"name": lib.Variant("s", sender)}]
        message = wire.call(
            name,
            f"/{name.replace('.', '/')}/Authority",
            f"{name}.Authority",
            "CheckAuthorization",
            "(sa{sv})sa{ss}us",
            [subject, action, {}, 1 if interactive else 0, ""],
            start=True,
        )
        timeout_s = _INTERACTIVE_TIMEOUT_S if interactive else CALL_TIMEOUT_S
        self._bus.call(message, answered, timeout_s)
