# SPDX-License-Identifier: GPL-2.0-or-later
"""The service: calls of the bus become the operations of the control socket, for those who may."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from scx_gamer import __version__
from scx_gamer.control import ControlError
from scx_gamer.control.operations import BY_MEMBER, OPERATIONS, Access, Operation
from scx_gamer.dbus import (
    BUS_NAME,
    INTERFACE,
    OBJECT_PATH,
    SESSION_INTERFACE,
    BusError,
    old_name,
    wire,
)
from scx_gamer.dbus.connection import Connection
from scx_gamer.dbus.endpoint import DBUS, ERRORS, OWNED, PROPERTIES, Call, Endpoint, Spelling
from scx_gamer.dbus.holds import Holds
from scx_gamer.dbus.interface import interfaces
from scx_gamer.dbus.polkit import Authority
from scx_gamer.dbus.power import PowerHold
from scx_gamer.dbus.source import PowerSource
from scx_gamer.system.exit_codes import USAGE
from scx_gamer.system.loop import NO_TIMER, Loop
from scx_gamer.system.procfs import start_of

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import StatusBody
    from scx_gamer.dbus.units import UnitHold

log = logging.getLogger(__name__)

_RETRY_S = (1.0, 2.0, 5.0, 10.0)
_MAX_TEXT = 256
Values = Mapping[str, Any]
Audience = Callable[[int], bool]  # whether a user is told
# Our paths, and how names of ours are spelled there.
_PATHS: dict[str, Spelling] = {OBJECT_PATH: str, old_name(OBJECT_PATH): old_name}


class BusService(Endpoint):
    """On the bus from construction to close(), as far as there is a bus; one that goes is waited for.

    `properties` gives the values by name. Nothing here raises for what a caller or the bus does.
    """

    def __init__(
        self,
        loop: Loop,
        operations: Mapping[str, Operation],
        properties: Callable[[], Values],
        hold: Callable[[str, str], None],
        on_battery: Callable[[bool], None] = lambda _on: None,
    ) -> None:
        """`hold(profile, reason)`: what the holds come to, an empty profile for none; `on_battery`: see PowerSource."""
        wire.library()  # without dbus-next there is no service: said at once, as BusError
        super().__init__(loop, interfaces(), _PATHS, wire.introspection())
        self._operations = operations
        self._properties = properties
        self._holds = Holds(hold)
        self.power = PowerHold()
        self.source = PowerSource(on_battery)
        self._followers: list[PowerHold | PowerSource | UnitHold] = [self.power, self.source]
        self._refused = 0  # by connections that are gone
        self._timer = NO_TIMER
        self._failures = 0
        self._closed = False
        self._told: dict[str, Any] = {}
        self.connected = False
        self._connect()

    # ---- the connection --------------------------------------------------------------------

    def _connect(self) -> None:
        try:
            self._bus = Connection(
                self._loop,
                on_ready=self._ready,
                on_call=self._on_call,
                on_signal=self._on_signal,
                on_lost=self._lost,
                admits=self._admits,
            )
        except BusError as err:
            self._lost(str(err))

    def _lost(self, why: str) -> None:
        """Drop all state of the connection, and schedule the next attempt."""
        if self.connected or self._failures == 0:
            log.warning("not on the bus: %s", why)
        self.connected = False
        self._refused += self._bus.refused if self._bus is not None else 0
        self._bus = self._authority = None
        self._holds.clear()
        for one in self._followers:
            one.lost()
        if not self._closed:
            delay = _RETRY_S[min(self._failures, len(_RETRY_S) - 1)]
            self._failures += 1
            self._timer = self._loop.call_later(delay, self._connect, name="bus again")

    def _ready(self) -> None:
        bus = self._bus
        assert bus is not None
        self._authority = Authority(bus)
        rule = f"type='signal',sender='{DBUS}',interface='{DBUS}',member='NameOwnerChanged'"
        gone = "arg2=''"  # names that nobody has any more
        bus.call(wire.to_bus("AddMatch", "s", [f"{rule},{gone}"]), self._quiet)
        self._request_name(BUS_NAME, self._named)

    def _request_name(self, name: str, reply: Callable[[Any, str], None]) -> None:
        do_not_queue = 4
        if self._bus is not None:
            self._bus.call(wire.to_bus("RequestName", "su", [name, do_not_queue]), reply)

    def _quiet(self, reply: Any, error: str) -> None:
        if reply is None:
            log.warning("the bus will not tell who leaves: %s", error)

    def _named(self, reply: Any, error: str) -> None:
        if reply is None or reply.body[0] not in OWNED:
            why = error or "somebody else has the name"
            bus, self._bus = self._bus, None
            if bus is not None:
                bus.close()
            self._lost(f"{BUS_NAME}: {why}")
            return
        self.connected = True
        self._failures = 0
        self._told = dict(self._properties())
        log.info("on the bus as %s", BUS_NAME)
        if self._bus is not None:
            for one in self._followers:
                one.connected(self._bus)
        self._request_name(old_name(BUS_NAME), self._old_named)

    def add_units(self, hold: UnitHold) -> None:
        """Have `hold` follow the connection."""
        self._followers.append(hold)
        if self.connected and self._bus is not None:
            hold.connected(self._bus)

    def _old_named(self, reply: Any, error: str) -> None:
        if reply is None or reply.body[0] not in OWNED:
            why = error or "somebody else has it"
            log.warning("the deprecated bus name %s is unavailable: %s", old_name(BUS_NAME), why)

    # ---- calls -----------------------------------------------------------------------------

    def _serve(self, call: Call, interface: str, member: str) -> None:
        """Check the permission, then do the work."""
        if any(isinstance(arg, str) and len(arg) > _MAX_TEXT for arg in call.args):
            call.refuse(ERRORS[USAGE], f"a text has at most {_MAX_TEXT} characters")
            return
        if interface in (SESSION_INTERFACE, old_name(SESSION_INTERFACE)):
            self._do(call, self._report_focus if member == "ReportFocus" else self._report_game)
            return
        access, work = self._work(member)
        authority = self._authority
        if access is Access.ALL:
            self._do(call, work)
        elif authority is not None:

            def verdict(allowed: bool, why: str) -> None:
                if allowed:
                    self._do(call, work)
                else:
                    call.denied(why)

            action = f"{BUS_NAME}.{access.value}"
            authority.may(call.sender, call.uid, action, verdict, interactive=call.interactive)

    def _work(self, member: str) -> tuple[Access, Callable[[Call], None]]:
        """Return the permission and the handler of a method."""
        special: dict[str, tuple[Access, Callable[[Call], None]]] = {
            "HoldProfile": (Access.SET_PROFILE, self._hold),
            "ReleaseProfile": (Access.ALL, self._release),
            "ListProfiles": (Access.ALL, self._list_profiles),
            "ListGames": (Access.ALL, self._list_games),
            "Explain": (Access.ALL, self._explain),
            "Query": (Access.ALL, self._query),
            "Session": (Access.ALL, self._session),
        }
        if member in special:
            return special[member]
        name = BY_MEMBER[member]
        spec = OPERATIONS[name]

        def plain(call: Call) -> None:
            self._operate(name, dict(zip(spec.arguments, call.args, strict=True)), call.uid)
            call.answer()

        return spec.access, plain

    def _operate(self, op: str, args: Mapping[str, Any], uid: int) -> Any:
        operation = self._operations.get(op)
        if operation is None:
            raise ControlError(f"this build has no {op}", USAGE)
        return operation.call(args, uid)

    def _report_focus(self, call: Call) -> None:
        self._operate("hint", {"kind": "focus", "pid": call.args[0]}, call.uid)
        call.answer()

    def _report_game(self, call: Call) -> None:
        pid, source, active = call.args
        hint = {"kind": "gamemode", "pid": pid, "source": source, "active": active}
        self._operate("hint", hint, call.uid)
        call.answer()

    def _hold(self, call: Call) -> None:
        profile, reason = call.args
        known = {row[0] for row in self._profiles(call.uid)}
        if profile not in known:
            raise ControlError("no such profile: see ListProfiles", USAGE)
        call.answer("u", [self._holds.take(call.sender, call.uid, profile, reason)])

    def _release(self, call: Call) -> None:
        self._holds.release(call.sender, call.args[0])
        call.answer()

    def _profiles(self, uid: int) -> list[list[str]]:
        """Return name, description and source of each profile."""
        body = self._operate("profiles", {}, uid)
        rows = body.get("profiles", body) if isinstance(body, dict) else body
        return [
            [str(row.get(key) or "") for key in ("name", "description", "source")]
            for row in rows
            if isinstance(row, dict)
        ]

    def _list_profiles(self, call: Call) -> None:
        call.answer("a(sss)", [self._profiles(call.uid)])

    def _list_games(self, call: Call) -> None:
        rows = [
            [int(g["pid"]), str(g.get("comm", "")), start_of(int(g["pid"])) or 0, str(g["reason"])]
            for g in self._operate("games", {}, call.uid)
        ]
        call.answer("a(usts)", [rows])

    def _explain(self, call: Call) -> None:
        facts = self._operate("explain", {"pid": call.args[0]}, call.uid)
        variant = wire.library().Variant
        call.answer("a{sv}", [{str(k): variant(*_typed(v)) for k, v in facts.items()}])

    def _query(self, call: Call) -> None:
        what = call.args[0]
        operation = self._operations.get(what)
        if operation is None or not operation.spec.query:
            known = ", ".join(name for name, one in self._operations.items() if one.spec.query)
            raise ControlError(f"nothing of that name: {known}", USAGE)
        call.answer("s", [json.dumps(operation.call({}, call.uid), default=str)])

    def _session(self, call: Call) -> None:
        record = self._operate("session", {"id": call.args[0]}, call.uid)
        record.pop("timeline", None)  # may have a thousand times the size of the rest
        call.answer("s", [json.dumps(record, default=str)])

    # ---- what every service has ------------------------------------------------------------------

    def _values(self, interface: str) -> dict[str, Any] | None:
        if interface in (INTERFACE, old_name(INTERFACE)):
            return self._read()
        return {} if interface in interfaces() else None

    def _read(self) -> dict[str, Any]:
        return self._loop.run_interruptible(lambda: self._variants(self._properties()))

    @staticmethod
    def _variants(values: Values) -> dict[str, Any]:
        variant = wire.library().Variant
        types = interfaces()[INTERFACE].properties
        return {name: variant(types[name], value) for name, value in values.items()}

    # ---- what we tell ------------------------------------------------------------------------

    def changed(self) -> None:
        """Signal the properties that differ from those signalled last."""
        if not self.connected:
            return
        values = dict(self._properties())
        fresh = {name: value for name, value in values.items() if self._told.get(name) != value}
        self._told = values
        if fresh:
            self._signal(PROPERTIES, "PropertiesChanged", [self._variants(fresh), []])

    def game_started(self, pid: int, name: str, audience: Audience | None = None) -> None:
        """Signal to everybody, or to each connection that has called us and whose user `audience` accepts."""
        self._signal(INTERFACE, "GameStarted", [pid, name], audience)

    def game_stopped(self, pid: int, name: str, audience: Audience | None = None) -> None:
        self._signal(INTERFACE, "GameStopped", [pid, name], audience)

    def scheduler_exited(self, kind: str, reason: str, will_retry: bool) -> None:
        self._signal(INTERFACE, "SchedulerExited", [kind, reason, will_retry])

    def _signal(
        self, interface: str, member: str, body: list[Any], audience: Audience | None = None
    ) -> None:
        if self._bus is None or not self.connected:
            return
        signature = interfaces()[interface].signals[member].gives
        names: list[str | None] = [None]
        if audience is not None:
            names = [*self._authority.names(audience)] if self._authority is not None else []
        for path, spell in _PATHS.items():
            values = body if interface == INTERFACE else [spell(INTERFACE), *body]
            made = wire.library().Message.new_signal(
                path, spell(interface), member, signature, values
            )
            for name in names:
                made.destination = name
                self._bus.send(made)

    def _on_signal(self, message: Any) -> None:
        self.power.on_signal(message)
        self.source.on_signal(message)
        if message.sender == DBUS and message.member == "NameOwnerChanged":
            name, _, owner = message.body
            if not owner:
                self._holds.left(name)
                if self._authority is not None:
                    self._authority.forget(name)

    def counters(self) -> dict[str, object]:
        refused = self._bus.refused if self._bus is not None else 0
        return {
            "connected": self.connected,
            "calls": dict(self.calls),
            "holds": self._holds.listing(),
            "over_budget": self._refused + refused,
        }

    def close(self) -> None:
        """Leave the bus, and let go of every hold."""
        self._closed = True
        self.connected = False
        for one in self._followers:
            one.lost()
        self._timer.cancel()
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.close()


def _typed(value: object) -> tuple[str, Any]:
    """Return the signature and value of a fact as a variant, JSON if it has no plain type."""
    if isinstance(value, bool):
        return "b", value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return "x", value
    if isinstance(value, float):
        return "d", value
    if isinstance(value, str):
        return "s", value.replace("\0", "").encode("utf-8", "replace").decode()
    return "s", json.dumps(value, default=str)


def properties_of(status: StatusBody, profile: str, last_session: int) -> dict[str, Any]:
    """Return the properties as the supervisor's status has them."""
    last, games = status.get("last_exit"), status.get("games")
    return {
        "State": status.get("state", "idle"),
        "ActiveProfile": profile,
        "ActiveGame": games[0]["pid"] if games else 0,
        "LastExit": [last["name"], last["code"], last["reason"]] if last else ["", 0, ""],
        "LastSession": last_session,
        "Version": __version__,
    }
