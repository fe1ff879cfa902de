# SPDX-License-Identifier: GPL-2.0-or-later
"""org.scx.Loader, the interface of scx_loader, answered for our one scheduler: programs that have buttons for it fit.

A process of its own: it asks the supervisor over the bus, as root, after polkit allowed the caller what scx_loader asks
for. Semantics are those of scx_loader 1.1.1 (sched-ext/scx-loader, crates/scx_loader/src/main.rs), where docs/dbus.md
names no other.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scx_gamer.dbus import BUS_NAME, INTERFACE, OBJECT_PATH, wire
from scx_gamer.dbus.connection import Connection
from scx_gamer.dbus.endpoint import DBUS, ERRORS, OWNED, PROPERTIES, Call, Endpoint
from scx_gamer.dbus.interface import interfaces, parse
from scx_gamer.dbus.polkit import Authority
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.exit_codes import NO_PERMISSION, OK, USAGE
from scx_gamer.system.loop import Loop

NAME = LOADER = "org.scx.Loader"
PATH = "/org/scx/Loader"
OURS = "scx_gamer"
ACTION = "org.scx.loader.manage-schedulers"
# SchedMode of scx_loader in the order of its numbers (crates/scx_loader/src/lib.rs): the names of our general profiles.
MODES = ("auto", "gaming", "powersave", "lowlatency", "server")
NOTHING = "unknown"  # CurrentScheduler where no scheduler is active
_ON = ("idle", "attached", "backoff")  # states in which the supervisor attaches, or will
_ANSWER_S = 20.0  # an attach takes seconds on a slow machine; callers wait 25 s by default
_FAILED = f"{DBUS}.Error.Failed"
_TAKE = 1 | 4  # whoever wants the name may have it; without it no waiting in line


class LoaderError(ScxGamerError):
    """The service cannot run, or has to end."""

    separator = "; "


class Loader(Endpoint):
    """On the bus from construction on; `error` says why the loop was stopped. The constructor raises BusError."""

    def __init__(self, loop: Loop, scheduler: str = OURS) -> None:
        """`scheduler`: the name that we answer for."""
        xml = Path(__file__).with_name("loader.xml").read_text("utf-8")
        standard = {name: one for name, one in interfaces().items() if name.startswith(DBUS)}
        super().__init__(loop, parse(xml) | standard, {PATH: str}, xml)
        self._scheduler = scheduler
        self._supervisor: dict[str, str] = {}  # its properties, none while it does not run
        self._owner = ""  # its unique name
        self._told: dict[str, Any] = {}
        self._named = False
        self.error: LoaderError | None = None
        self._connection = Connection(
            loop,
            on_ready=self._ready,
            on_call=self._on_call,
            on_signal=self._on_signal,
            on_lost=lambda why: self._end(f"not on the bus: {why}"),
            admits=self._admits,
        )

    def _end(self, why: str, hint: str = "", code: int = 0) -> None:
        self.error = self.error or LoaderError(why, hint=hint, code=code)
        self._loop.stop()

    # ---- the start ---------------------------------------------------------------------------

    def _ready(self) -> None:
        self._bus = self._connection
        self._authority = Authority(self._connection)
        for rule in (
            f"type='signal',sender='{DBUS}',member='NameOwnerChanged',arg0='{BUS_NAME}'",
            f"type='signal',sender='{BUS_NAME}',path='{OBJECT_PATH}',interface='{PROPERTIES}'",
        ):
            self._connection.call(wire.to_bus("AddMatch", "s", [rule]), self._matched)
        self._read_supervisor()

    def _matched(self, reply: Any, error: str) -> None:
        if reply is None:
            self._end(f"the bus will not tell what the supervisor does: {error}")

    def _read_supervisor(self) -> None:
        call = wire.call(BUS_NAME, OBJECT_PATH, PROPERTIES, "GetAll", "s", [INTERFACE])

        def answered(reply: Any, _error: str) -> None:
            self._owner = str(reply.sender) if reply is not None else ""
            self._supervisor = {}
            self._learn(reply.body[0] if reply is not None else {})
            if not self._named:  # only now there is something to tell
                request = wire.to_bus("RequestName", "su", [NAME, _TAKE])
                self._connection.call(request, self._requested)

        self._connection.call(call, answered)

    def _requested(self, reply: Any, error: str) -> None:
        if reply is None:
            self._end(f"{NAME} is not to be had: {error}")
        elif reply.body[0] in OWNED:
            self._named = True
            self._told = self._properties()
        else:
            self._name_is_taken()

    def _name_is_taken(self) -> None:
        hint = "use either scx_loader or this service: systemctl disable one of them"
        self._end(f"another program, likely scx_loader, is {NAME}", hint, NO_PERMISSION)

    # ---- the supervisor ----------------------------------------------------------------------

    def _on_signal(self, message: Any) -> None:
        if message.sender == DBUS and message.member == "NameLost" and message.body == [NAME]:
            self._name_is_taken()
        elif message.sender == DBUS and message.member == "NameOwnerChanged":
            self._read_supervisor()
        elif message.sender == self._owner and message.member == "PropertiesChanged":
            self._learn(message.body[1])

    def _learn(self, values: Mapping[str, Any]) -> None:
        """Take over properties of the supervisor, and tell those of ours that are others for it."""
        wanted = {"State", "ActiveProfile"} & values.keys()
        self._supervisor |= {name: str(values[name].value) for name in wanted}
        before, self._told = self._told, self._properties()
        fresh = {
            name: self._told[name] for name in self._told if self._told[name] != before.get(name)
        }
        if self._named and fresh:
            body = [LOADER, self._variants(fresh), []]
            make = wire.library().Message.new_signal
            self._connection.send(make(PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", body))

    def _properties(self) -> dict[str, Any]:
        profile = self._supervisor.get("ActiveProfile", "")
        on = self._supervisor.get("State") in _ON
        return {
            "CurrentScheduler": self._scheduler if on else NOTHING,
            # a game's own profile is what auto chose
            "SchedulerMode": MODES.index(profile) if on and profile in MODES else 0,
            "CurrentSchedulerArgs": [],
            "SupportedSchedulers": [self._scheduler],
            "DefaultScheduler": self._scheduler,
            "DefaultMode": 0,
        }

    def _variants(self, values: Mapping[str, Any]) -> dict[str, Any]:
        types = self._known[LOADER].properties
        return {name: wire.library().Variant(types[name], one) for name, one in values.items()}

    def _values(self, interface: str) -> dict[str, Any] | None:
        if interface == LOADER:
            return self._variants(self._properties())
        return {} if interface in self._known else None

    # ---- calls -------------------------------------------------------------------------------

    def _serve(self, call: Call, interface: str, member: str) -> None:
        assert self._authority is not None

        def verdict(allowed: bool, why: str) -> None:
            if allowed:
                self._do(call, lambda call: self._change(call, member))
            else:
                call.denied(why)

        # scx_loader too lets polkit ask whoever did not say that it may
        self._authority.may(call.sender, call.uid, ACTION, verdict, interactive=True)

    def _change(self, call: Call, member: str) -> None:
        if member == "StopScheduler":
            self._ask(call, "Stop")
        elif member == "RestartScheduler":
            if self._properties()["CurrentScheduler"] == NOTHING:
                call.refuse(_FAILED, "no scheduler is running to restart")
            else:
                self._ask(call, "Restart")
        elif member == "RestoreDefault":
            self._ask(call, "Start", "s", [MODES[0]])
        else:
            self._start(call, *call.args)

    def _start(self, call: Call, scheduler: str, how: int | list[str]) -> None:
        """`how`: a mode or arguments."""
        if scheduler != self._scheduler:
            call.refuse(ERRORS[USAGE], f"{self._scheduler} is the only scheduler here")
        elif isinstance(how, list) and any(how):
            text = f"{self._scheduler} takes no arguments: choose a mode, or use scx-gamer profiles"
            call.refuse(ERRORS[USAGE], text)
        elif isinstance(how, int) and how >= len(MODES):
            known = ", ".join(f"{number} {name}" for number, name in enumerate(MODES))
            call.refuse(ERRORS[USAGE], f"no mode {how}: {known}")
        else:
            self._ask(call, "Start", "s", [MODES[how if isinstance(how, int) else 0]])

    def _ask(self, call: Call, member: str, signature: str = "", body: Any = ()) -> None:
        """Answer `call` as the supervisor answers."""

        def answered(reply: Any, error: str) -> None:
            if reply is not None:
                call.answer()
            elif self._owner:
                call.refuse(_FAILED, error.partition(": ")[2] or error)
            else:
                call.refuse(_FAILED, "scx-gamer does not run: systemctl enable --now scx-gamer")

        message = wire.call(BUS_NAME, OBJECT_PATH, INTERFACE, member, signature, list(body))
        self._connection.call(message, answered, _ANSWER_S)

    def close(self) -> None:
        self._connection.close()


def main(scheduler: str = OURS) -> int:
    """Serve until SIGTERM, SIGINT or an end of the name or the bus. Raises LoaderError and BusError."""
    if not re.fullmatch(r"scx_[a-z0-9_]{1,60}", scheduler):
        raise LoaderError(f"no name of a scheduler: {scheduler!r}", hint="use scx_NAME", code=USAGE)
    with Loop() as loop:
        loader = Loader(loop, scheduler)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal(number, loop.stop)
        try:
            loop.run()
        finally:
            loader.close()
        if loader.error is not None:
            raise loader.error
    return OK
