# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of a service's objects: checked before their bodies are decoded, each answered once."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from scx_gamer.control import ControlError, LimitError
from scx_gamer.dbus import ERROR_PREFIX, BusError, wire
from scx_gamer.dbus.connection import Connection
from scx_gamer.dbus.interface import Interface
from scx_gamer.dbus.polkit import Authority
from scx_gamer.system.budget import Budget
from scx_gamer.system.exit_codes import BAD_CONFIG, NO_PERMISSION, USAGE
from scx_gamer.system.files import read_text
from scx_gamer.system.loop import Loop

log = logging.getLogger(__name__)

DBUS = "org.freedesktop.DBus"
PROPERTIES = f"{DBUS}.Properties"
ERRORS = {
    USAGE: f"{DBUS}.Error.InvalidArgs",
    NO_PERMISSION: f"{DBUS}.Error.AccessDenied",
    BAD_CONFIG: f"{ERROR_PREFIX}BadConfiguration",
}
_PER_SECOND, _BURST = 50.0, 100.0  # calls of one user, over all connections; root has no limit
_SHORT = 512  # bytes: such a frame is decoded at once
OWNED = (1, 4)  # answers of RequestName: it is ours, and was already
_INTROSPECT = (f"{DBUS}.Introspectable", "Introspect", "")

Spelling = Callable[[str], str]


class Call:
    """One method call, answered once. `spell` gives our names as they are spelled at the path of the call."""

    def __init__(self, endpoint: Endpoint, message: Any, uid: int) -> None:
        lib = wire.library()
        self._endpoint = endpoint
        self.sender = str(message.sender)
        self.uid = uid
        self.args = list(message.body)
        self.interactive = bool(message.flags & lib.MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION)
        self._message = message
        self.spell = endpoint.paths.get(message.path, str)
        self._open = not message.flags & lib.MessageFlag.NO_REPLY_EXPECTED

    def answer(self, signature: str = "", body: list[Any] | None = None) -> None:
        if self._open:
            self._open = False
            made = wire.library().Message.new_method_return(self._message, signature, body or [])
            self._endpoint.reply(made, "answered")

    def refuse(self, name: str, text: str) -> None:
        if self._open:
            self._open = False
            text = text.replace("\0", "")
            made = wire.library().Message.new_error(self._message, self.spell(name), text)
            self._endpoint.reply(made, "refused")

    def denied(self, why: str) -> None:
        self.refuse(ERRORS[NO_PERMISSION], why)


class Endpoint:
    """Base of a service: `paths` of its objects, each with its spelling of our names, and the interfaces `known` there.

    Nothing here raises for what a caller does.
    """

    def __init__(
        self, loop: Loop, known: Mapping[str, Interface], paths: Mapping[str, Spelling], xml: str
    ) -> None:
        """`xml`: what Introspect answers."""
        self._loop = loop
        self._known, self.paths, self._xml = known, paths, xml
        self._parents = wire.parents(paths)
        self._bus: Connection | None = None
        self._authority: Authority | None = None
        self._budget = Budget(_PER_SECOND, _BURST)
        self.calls: Counter[str] = Counter()

    def _serve(self, call: Call, interface: str, member: str) -> None:
        """Handle a call of an interface of ours, by a user that is known."""
        raise NotImplementedError

    def _values(self, interface: str) -> dict[str, Any] | None:
        """Return the properties of an interface as variants; None where it has none."""
        raise NotImplementedError

    def _admits(self, sender: str) -> bool:
        """Spend a call of the sender's user; root's are free. Names whose user is not known yet share one budget."""
        uid = self._authority.known(sender) if self._authority is not None else None
        return uid == 0 or self._budget.take("new" if uid is None else uid)

    def reply(self, message: Any, kind: str) -> None:
        self.calls[kind] += 1
        if self._bus is not None:
            self._bus.send(message)

    def _on_call(self, frame: bytes, whole: bool) -> None:
        """Decode the header first, and the body only if it is short or has the expected signature."""
        message = None
        try:
            if len(frame) <= _SHORT and whole:
                with suppress(BusError):  # the header may be right all the same
                    message = self._decode(frame)
            head = message or self._decode(wire.without_body(frame))
        except BusError as err:
            self.calls["malformed"] += 1
            log.debug("dropped: %s", err)
            return
        refusal = self._refusal(head, whole)
        if refusal:
            Call(self, head, -1).refuse(*refusal)
            return
        try:
            message = message or self._decode(frame)
        except BusError as err:
            Call(self, head, -1).refuse(ERRORS[USAGE], str(err))
            return
        if message.interface is None:
            message.interface = self._interface_of(message.member)
        if message.interface.startswith(DBUS):
            self._standard(Call(self, message, -1), message.path, message.member)
            return
        authority = self._authority
        if authority is None:
            return

        def known(uid: int | None, why: str) -> None:
            call = Call(self, message, -1 if uid is None else uid)
            if uid is None:
                call.denied(why)
            else:
                self._serve(call, message.interface, message.member)

        authority.user(str(message.sender), known)

    def _decode(self, frame: bytes) -> Any:
        return self._loop.run_interruptible(wire.decode, frame)

    def _interface_of(self, member: str) -> str | None:
        return next((name for name, one in self._known.items() if member in one.methods), None)

    def _refusal(self, head: Any, whole: bool) -> tuple[str, str] | None:
        """Return the error name and text with which a call is refused."""
        error = f"{DBUS}.Error."
        if not whole:
            return f"{error}LimitsExceeded", f"a call has at most {wire.MAX_FRAME} bytes"
        name = head.interface or self._interface_of(head.member)
        if head.path not in self.paths:
            asked = (name, head.member, head.signature)
            if head.path in self._parents and asked == _INTROSPECT:
                return None
            return f"{error}UnknownObject", f"there is {next(iter(self.paths))} only"
        one = self._known.get(name or "")
        if one is None:
            return f"{error}UnknownInterface", f"no interface {name}"
        if name == PROPERTIES and head.member == "Set":
            return f"{error}PropertyReadOnly", "every property is read-only"
        member = one.methods.get(head.member)
        if member is None:
            return f"{error}UnknownMethod", f"{name} has no method {head.member}"
        if head.signature != member.takes:
            return (
                f"{error}InvalidArgs",
                f"{head.member} takes ({member.takes}), not ({head.signature})",
            )
        return None

    def _do(self, call: Call, work: Callable[[Call], None]) -> None:
        try:
            work(call)
        except LimitError as err:
            call.refuse(f"{DBUS}.Error.LimitsExceeded", str(err))
        except ControlError as err:
            call.refuse(ERRORS.get(err.code, f"{ERROR_PREFIX}Failed"), str(err))
        # A bug of ours costs a stranger the answer, not the others the supervisor.
        except Exception:
            log.exception("a call of %s failed", call.sender)
            call.refuse(f"{ERROR_PREFIX}Failed", "internal error: see the journal")

    def _standard(self, call: Call, path: str, member: str) -> None:
        """Handle a call of an interface that every service has."""
        if member == "Introspect":
            call.answer("s", [self._parents.get(path) or call.spell(self._xml)])
        elif member == "Ping":
            call.answer()
        elif member == "GetMachineId":
            call.answer("s", [_machine_id()])
        elif (values := self._values(call.args[0])) is None:
            call.refuse(f"{DBUS}.Error.UnknownInterface", "no properties there")
        elif member == "GetAll":
            call.answer("a{sv}", [values])
        elif call.args[1] in values:
            call.answer("v", [values[call.args[1]]])
        else:
            call.refuse(f"{DBUS}.Error.UnknownProperty", "no such property")


def _machine_id() -> str:
    found = read_text("/etc/machine-id") or ""
    return found if re.fullmatch("[0-9a-f]{32}", found) else ""
