# SPDX-License-Identifier: GPL-2.0-or-later
"""The service on a real dbus-daemon: every method, hostile calls, floods, a bus that goes and comes back."""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from scx_gamer import control
from scx_gamer.control import ControlError
from scx_gamer.control.operations import OPERATIONS, Access, Operation, Spec
from scx_gamer.control.server import ControlServer
from scx_gamer.dbus import BUS_NAME, INTERFACE, OBJECT_PATH, SESSION_INTERFACE, BusError, wire
from scx_gamer.dbus.client import BusClient, NoService
from scx_gamer.dbus.interface import interfaces
from scx_gamer.dbus.service import BusService, properties_of
from scx_gamer.service.session_hints import Hints
from scx_gamer.system.exit_codes import FAILED, USAGE
from tests.hostile import attack, messages
from tests.unit.dbus.conftest import Daemon, Turning, turning

ERROR = "org.freedesktop.DBus.Error."


class World:
    """A stand-in for the supervisor: operations that record their requests."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.held: list[tuple[str, str]] = []
        self.status: Any = {"state": "idle", "games": [], "last_exit": None}
        self.profile = "auto"
        self.session: bool | None = True
        self.owners: set[int] = set()
        self.hints = Hints(self.offer, lambda _uid: self.session, lambda: self.owners)

    def _op(self, name: str, result: Any = None) -> Operation:
        spec = OPERATIONS.get(name, Spec(Access.MANAGE))

        def call(args: Any, _uid: int) -> Any:
            if spec.access is not Access.ALL:
                self.asked.append((name, dict(args)))
            return result() if callable(result) else result

        return Operation(call, spec)

    def offer(self, source: str, pid: int, kind: str) -> bool:
        self.asked.append(("hint", {"pid": pid, "source": source, "kind": kind}))
        return True

    @staticmethod
    def record(args: Any, uid: int) -> dict[str, Any]:
        if args["id"] != 7:
            raise ControlError(f"no session {args['id']} of yours", FAILED)
        return {"id": 7, "uid": uid, "timeline": [{"at_s": 10.0}]}

    def operations(self) -> dict[str, Operation]:
        def add(args: Any, _uid: int) -> None:
            self.asked.append(("game_add", dict(args)))
            if args["pid"] == 1:
                raise ControlError("process 1 cannot be a game", FAILED)

        rows = [{"name": "gaming", "description": "for games", "source": "vendor"}]
        game = {"pid": os.getpid(), "comm": "doom", "reason": "exec", "processes": 1}
        return {
            "status": self._op("status", lambda: self.status),
            "games": self._op("games", [game]),
            "profiles": self._op("profiles", {"profiles": rows}),
            "explain": self._op(
                "explain", {"game": True, "rule": "exec", "evidence": ["a"], "n": 3}
            ),
            "game_add": Operation(add, OPERATIONS["game_add"]),
            "session": Operation(self.record, OPERATIONS["session"]),
            "session_delete": Operation(self.record, OPERATIONS["session_delete"]),
            **{
                n: self._op(n)
                for n in ("start", "stop", "restart", "reload", "game_remove", "profile_set")
            },
            "hint": Operation(self.hints.take, OPERATIONS["hint"]),
            "secret": self._op("secret", "x"),
        }

    def properties(self) -> dict[str, Any]:
        return properties_of(self.status, self.profile, 0)

    def hold(self, profile: str, reason: str) -> None:
        self.held.append((profile, reason))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def turn(bus: Daemon) -> Iterator[Turning]:
    with turning() as turn:
        yield turn


@pytest.fixture
def service(turn: Turning, world: World) -> Iterator[BusService]:
    made = turn.do(lambda: BusService(turn.loop, world.operations(), world.properties, world.hold))
    wait(lambda: made.connected)
    try:
        yield made
    finally:
        turn.do(made.close)


def wait(what: Any, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.005)


def refused(client: BusClient, *call: Any, **more: Any) -> str:
    with pytest.raises(BusError) as error:
        client.call(*call, **more)
    return error.value.name.removeprefix(ERROR)


def test_each_method(service: BusService, world: World) -> None:
    with BusClient() as client:
        client.call("Stop")
        client.call("Start", "s", [""])
        client.call("Start", "s", ["gaming"])
        client.call("Restart")
        client.call("Reload")
        client.call("SetProfile", "sb", ["gaming", True])
        client.call("AddGame", "u", [4711])
        client.call("RemoveGame", "u", [4711])
        assert world.asked == [
            ("stop", {}),
            ("start", {"profile": ""}),
            ("start", {"profile": "gaming"}),
            ("restart", {}),
            ("reload", {}),
            ("profile_set", {"name": "gaming", "sticky": True}),
            ("game_add", {"pid": 4711}),
            ("game_remove", {"pid": 4711}),
        ]
        assert client.call("ListProfiles") == [[["gaming", "for games", "vendor"]]]
        [[game]] = client.call("ListGames")
        assert (game[0], game[1], game[3]) == (os.getpid(), "doom", "exec") and game[2] > 0
        facts = {name: v.value for name, v in client.call("Explain", "u", [1])[0].items()}
        assert facts == {"game": True, "rule": "exec", "evidence": '["a"]', "n": 3}
        assert client.call("Query", "s", ["status"])[0].startswith("{")
        assert json.loads(client.call("Session", "t", [7])[0]) == {"id": 7, "uid": os.getuid()}
        assert client.call("DeleteSession", "t", [7]) == []
        for member in ("Session", "DeleteSession"):
            assert refused(client, member, "t", [(1 << 64) - 1]).endswith("Error.Failed")
        assert client.call("ReportFocus", "ubs", [0, False, ""], interface=SESSION_INTERFACE) == []
        client.call(
            "ReportGameHint", "usb", [os.getpid(), "exec", True], interface=SESSION_INTERFACE
        )
        assert world.asked[-2:] == [
            ("hint", {"pid": 0, "source": "agent", "kind": "focus"}),
            ("hint", {"pid": os.getpid(), "source": "exec", "kind": "game"}),
        ]


def test_refusals(service: BusService, world: World) -> None:
    with BusClient() as client:
        properties = "org.freedesktop.DBus.Properties"
        assert refused(client, "Nothing") == "UnknownMethod"
        assert refused(client, "Stop", interface="org.example.Other") == "UnknownInterface"
        assert refused(client, "Stop", path="/other") == "UnknownObject"
        assert refused(client, "Stop", "s", ["x"]) == "InvalidArgs"
        assert refused(client, "Start", "u", [1]) == "InvalidArgs"
        assert refused(client, "Start", "s", ["x" * 300]) == "InvalidArgs"
        assert refused(client, "Start", "s", ["x" * 100_000]) == "LimitsExceeded"
        assert refused(client, "Query", "s", ["secret"]) == "InvalidArgs"
        assert refused(client, "Query", "s", ["stop"]) == "InvalidArgs"
        assert (
            refused(client, "AddGame", "u", [1]) == "io.github.scx_gamer.Supervisor1.Error.Failed"
        )
        assert refused(client, "HoldProfile", "ss", ["none", "x"]) == "InvalidArgs"
        assert refused(client, "ReleaseProfile", "u", [1]) == "InvalidArgs"
        variant = wire.library().Variant("s", "off")
        change = ("Set", "ssv", [INTERFACE, "State", variant])
        assert refused(client, *change, interface=properties) == "PropertyReadOnly"
        assert (
            refused(client, "Get", "ss", [INTERFACE, "Nope"], interface=properties)
            == "UnknownProperty"
        )
        hint = ("ReportGameHint", "usb", [os.getpid(), "Exec; x", True])
        assert refused(client, *hint, interface=SESSION_INTERFACE) == "InvalidArgs"
        hint = ("ReportGameHint", "usb", [1, "exec", True])
        assert refused(client, *hint, interface=SESSION_INTERFACE) == "InvalidArgs"
    assert [name for name, _ in world.asked] == ["game_add"]


def test_properties_and_signals(service: BusService, world: World, turn: Turning) -> None:
    with BusClient() as client:
        get_all = ("GetAll", "s", [INTERFACE])
        values = client.call(*get_all, interface="org.freedesktop.DBus.Properties")[0]
        assert {n: v.signature for n, v in values.items()} == interfaces()[INTERFACE].properties
        client.call(
            "AddMatch", "s", [f"type='signal',sender='{BUS_NAME}',path='{OBJECT_PATH}'"],
            interface="org.freedesktop.DBus", destination="org.freedesktop.DBus", path="/org/freedesktop/DBus",
        )  # fmt: skip
        world.status = {**world.status, "state": "attached", "games": [{"pid": 5}]}
        turn.do(service.changed)
        told = next_signal(client, "PropertiesChanged")
        assert {n: v.value for n, v in told[1].items()} == {"State": "attached", "ActiveGame": 5}
        turn.do(service.changed)  # nothing did: nothing is told
        turn.do(lambda: service.game_started(5, "doom"))
        assert next_signal(client) == [5, "doom"]
        turn.do(lambda: service.scheduler_exited("stall", "runnable task stall", True))
        assert next_signal(client, "SchedulerExited") == ["stall", "runnable task stall", True]


def test_games_are_signalled_to_those_who_may_know(
    service: BusService, turn: Turning, stranger: BusClient
) -> None:
    """The audience hears it, a stranger who calls as well does not, and a broadcast reaches both."""
    with BusClient() as root:
        root.call("Query", "s", ["status"])
        stranger.call("Query", "s", ["status"])
        for client in (root, stranger):
            client.call(
                "AddMatch", "s", [f"type='signal',sender='{BUS_NAME}',path='{OBJECT_PATH}'"],
                interface="org.freedesktop.DBus", destination="org.freedesktop.DBus", path="/org/freedesktop/DBus",
            )  # fmt: skip
        turn.do(lambda: service.game_started(5, "doom", lambda uid: uid == 0))
        turn.do(lambda: service.game_stopped(6, "quake"))
        assert next_signal(root, "GameStarted") == [5, "doom"]
        assert next_signal(root, "GameStopped") == [6, "quake"]
        assert next_signal(stranger) == [6, "quake"]


def next_signal(client: BusClient, member: str = "") -> list[Any]:
    while True:
        message = client.receive()
        if (
            message.message_type is wire.library().MessageType.SIGNAL
            and message.path == OBJECT_PATH  # each comes from the deprecated path too
        ):
            assert not member or message.member == member, message.member
            return list(message.body)


def test_introspection_is_the_file(service: BusService) -> None:
    with BusClient() as client:
        interface = "org.freedesktop.DBus.Introspectable"
        assert client.call("Introspect", interface=interface) == [wire.introspection()]
        root = client.call("Introspect", interface=interface, path="/")
        assert root == ['<node><node name="io"/><node name="org"/></node>']
        assert client.call("Ping", interface="org.freedesktop.DBus.Peer") == []


def test_the_deprecated_names_answer(service: BusService, world: World, turn: Turning) -> None:
    """Methods, properties, errors, signals and introspection under the old name and path, and under no mixture."""
    name, path = "org.scxgamer.Supervisor1", "/org/scxgamer/Supervisor1"
    with BusClient() as client:
        bus: dict[str, Any] = {
            "interface": "org.freedesktop.DBus",
            "destination": "org.freedesktop.DBus",
        }
        wait(lambda: client.call("NameHasOwner", "s", [name], path="/", **bus) == [True])
        old: dict[str, Any] = {"destination": name, "path": path}
        client.call("Stop", **old, interface=name)
        hint = ("ReportGameHint", "usb", [os.getpid(), "exec", True])
        client.call(*hint, **old, interface=f"{name}.Session")
        assert [asked for asked, _ in world.asked] == ["stop", "hint"]
        with pytest.raises(BusError) as error:
            client.call("AddGame", "u", [1], **old, interface=name)
        assert error.value.name == f"{name}.Error.Failed"
        properties: dict[str, Any] = {**old, "interface": "org.freedesktop.DBus.Properties"}
        [values] = client.call("GetAll", "s", [name], **properties)
        assert values.keys() == interfaces()[INTERFACE].properties.keys()
        told = client.call(
            "Introspect", **{**old, "interface": "org.freedesktop.DBus.Introspectable"}
        )[0]
        assert told.count(name) == 2 and f'"{path}"' in told and "scx_gamer" not in told
        for one in (path, OBJECT_PATH):
            rule = f"type='signal',path='{one}'"
            client.call("AddMatch", "s", [rule], path="/", **bus)
        world.status = {**world.status, "state": "attached"}
        turn.do(service.changed)
        turn.do(lambda: service.game_started(5, "doom"))
        seen = [client.receive() for _ in range(4)]
        assert [(s.path, s.interface) for s in seen[2:]] == [(OBJECT_PATH, INTERFACE), (path, name)]
        assert [(s.path, s.body[0]) for s in seen[:2]] == [(OBJECT_PATH, INTERFACE), (path, name)]
        assert seen[2].body == seen[3].body == [5, "doom"]


def test_hold_ends_with_its_owner(service: BusService, world: World) -> None:
    with BusClient() as stays:
        first = stays.call("HoldProfile", "ss", ["gaming", "one"])[0]
        with BusClient() as leaves:
            cookie = leaves.call("HoldProfile", "ss", ["gaming", "two"])[0]
            assert refused(stays, "ReleaseProfile", "u", [cookie]) == "InvalidArgs"
            assert world.held[-1] == ("gaming", "two")
        wait(lambda: world.held[-1] == ("gaming", "one"))
        stays.call("ReleaseProfile", "u", [first])
        assert world.held[-1] == ("", "")
        with BusClient() as second:  # eight are a user's, not a connection's
            for number in range(8):
                (stays, second)[number % 2].call("HoldProfile", "ss", ["gaming", "many"])
            for client in (stays, second):
                assert refused(client, "HoldProfile", "ss", ["gaming", "more"]).endswith("Failed")
    wait(lambda: world.held[-1] == ("", ""))


def test_bus_gone_and_back(bus: Daemon, service: BusService, world: World) -> None:
    with BusClient() as client:
        client.call("HoldProfile", "ss", ["gaming", "x"])
    bus.stop()
    wait(lambda: not service.connected)
    wait(lambda: world.held[-1] == ("", ""))
    with pytest.raises(NoService):
        BusClient()
    bus.start()
    wait(lambda: service.connected)
    with BusClient() as client:
        client.call("Stop")
    assert world.asked[-1] == ("stop", {})


def test_second_owner_is_told_and_takes_over_later(
    service: BusService, turn: Turning, world: World
) -> None:
    second = turn.do(
        lambda: BusService(turn.loop, world.operations(), world.properties, world.hold)
    )
    try:
        time.sleep(0.3)
        assert not second.connected and service.connected
        turn.do(service.close)
        wait(lambda: second.connected)
    finally:
        turn.do(second.close)


def test_reports_are_limited(service: BusService, world: World) -> None:
    with BusClient() as client:
        answers = []
        for _ in range(60):
            try:
                client.call("ReportFocus", "ubs", [0, True, "x"], interface=SESSION_INTERFACE)
                answers.append("")
            except BusError as err:
                answers.append(err.name.removeprefix(ERROR))
    assert "LimitsExceeded" in answers and answers[:10] == [""] * 10


@pytest.fixture
def stranger(service: BusService, turn: Turning) -> Iterator[BusClient]:
    """A connection that the service takes for an ordinary user's."""
    with BusClient(60) as client:
        client.call("Ping", interface="org.freedesktop.DBus.Peer")
        authority = service._authority
        assert authority is not None
        turn.do(lambda: authority._users.update({own_name(client): 4242}))
        yield client


def flood(client: BusClient, member: str, count: int, *, answered: bool) -> None:
    """Send the call so many times, and read nothing."""
    message = wire.call(BUS_NAME, OBJECT_PATH, "org.freedesktop.DBus.Peer", member)
    if not answered:
        message.flags |= wire.library().MessageFlag.NO_REPLY_EXPECTED
    client._sock.settimeout(60)
    client._sock.sendall(b"".join(wire.encode(message, n) for n in range(1, count + 1)))


def test_flood_leaves_the_loop_to_others(
    service: BusService, turn: Turning, stranger: BusClient
) -> None:
    """Ten thousand calls at once: a timer of the loop is late by a few messages' work, and memory stays."""
    late: list[float] = []

    def beat(due: float) -> None:
        late.append(time.monotonic() - due)
        if len(late) < 100:
            turn.loop.call_later(0.02, lambda: beat(time.monotonic() + 0.02), name="beat")

    turn.do(lambda: beat(time.monotonic()))
    flood(stranger, "Ping", 10_000, answered=False)
    wait(lambda: len(late) >= 100, 60)
    assert service.counters()["over_budget"]
    # The median: a machine that does other work takes the CPU from some of them.
    assert median(late) < 0.05, late


def test_a_flood_of_one_user_delays_no_other(
    service: BusService, world: World, stranger: BusClient
) -> None:
    """At 500 messages a second for all, root's Stop came 40 s after 20 000 pings of one user."""
    with BusClient(60) as mine:
        mine.call("Ping", interface="org.freedesktop.DBus.Peer")
        flood(stranger, "Ping", 20_000, answered=False)
        begun = time.monotonic()
        mine.call("Stop")
        took = time.monotonic() - begun
    assert world.asked == [("stop", {})]
    assert int(str(service.counters()["over_budget"])) > 15_000
    assert took < 10, f"{took:.1f} s"


def test_who_has_spent_his_share_is_told_at_once(service: BusService, stranger: BusClient) -> None:
    kinds = wire.library().MessageType
    ends: Counter[str] = Counter()
    begun = time.monotonic()
    for sent in range(100, 501, 100):  # the bus itself lets 128 wait
        flood(stranger, "Ping", 100, answered=True)
        while ends.total() < sent:
            answer = stranger.receive()
            if answer.message_type in (kinds.METHOD_RETURN, kinds.ERROR):
                ends[answer.error_name or "answered"] += 1
    took = time.monotonic() - begun
    assert 80 <= ends["answered"] <= 100 + 50 * took + 1, (ends, took)
    assert ends[f"{ERROR}LimitsExceeded"] == 500 - ends["answered"]


def test_ten_thousand_hostile_calls(service: BusService, world: World) -> None:
    """Send any message: nothing changes, every call is answered, the service stays."""
    before = dict(service.calls)
    with BusClient(300) as client:
        ends = attack(client, messages(random.Random(20)), 10_000)
        assert client.call("Query", "s", ["status"])
    assert ends.total() == 10_000
    assert service.calls["refused"] - before.get("refused", 0) > 8_000
    assert world.asked == [] and world.held == []


def test_stranger_needs_polkit(service: BusService, world: World, turn: Turning) -> None:
    """Not root, and no polkit on this bus: reading works, changing does not."""
    authority = service._authority
    assert authority is not None
    with BusClient() as client:
        client.call("Ping", interface="org.freedesktop.DBus.Peer")
        turn.do(lambda: authority._users.update({own_name(client): 4242}))
        assert client.call("Query", "s", ["status"])
        for call in (
            ("Stop",),
            ("Start", "s", [""]),
            ("SetProfile", "sb", ["gaming", False]),
            ("AddGame", "u", [99]),
        ):
            assert refused(client, *call) == "AccessDenied"
        hint = ("ReportGameHint", "usb", [os.getpid(), "exec", True])
        assert refused(client, *hint, interface=SESSION_INTERFACE) == "AccessDenied"
    assert world.asked == []


def own_name(client: BusClient) -> str:
    bus = "org.freedesktop.DBus"
    names = client.call("ListNames", interface=bus, destination=bus, path="/org/freedesktop/DBus")[
        0
    ]
    return str(max((n for n in names if n.startswith(":")), key=lambda n: int(n.split(".")[1])))


def test_usage_error_of_an_operation(turn: Turning, world: World) -> None:
    def bad(_args: Any, _uid: int) -> None:
        raise ControlError("no such profile", USAGE)

    spec = OPERATIONS["profile_set"]
    operations = {**world.operations(), "profile_set": Operation(bad, spec)}
    made = turn.do(lambda: BusService(turn.loop, operations, world.properties, world.hold))
    try:
        wait(lambda: made.connected)
        with BusClient() as client:
            assert refused(client, "SetProfile", "sb", ["x", True]) == "InvalidArgs"
    finally:
        turn.do(made.close)


WAYS = ("the bus", "the control socket", "the hints socket")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_a_hint_has_the_same_gate(
    way: str, service: BusService, world: World, turn: Turning
) -> None:
    """An SSH session marks no process and ends nobody's boost, whichever way it asks; the session in front may."""
    stranger = 65534
    table = world.operations()
    offered = table if way == "the control socket" else {"hint": table["hint"]}
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    path = folder / "socket"
    server = turn.do(lambda: ControlServer(turn.loop, path, offered))
    own = subprocess.Popen(["sleep", "60"], user=stranger, group=stranger, extra_groups=[], cwd="/")

    def hint(kind: str, pid: int) -> str:
        if way == "the bus":
            with BusClient() as client:
                client.call("Ping", interface="org.freedesktop.DBus.Peer")
                authority = service._authority
                assert authority is not None
                turn.do(lambda: authority._users.update({own_name(client): stranger}))
                call: tuple[Any, ...] = ("ReportFocus", "ubs", [pid, True, "x"])
                if kind == "gamemode":
                    call = ("ReportGameHint", "usb", [pid, "exec", True])
                try:
                    client.call(*call, interface=SESSION_INTERFACE)
                except BusError as err:
                    return err.what
                return ""
        os.seteuid(stranger)
        try:
            control.request("hint", path=path, timeout_s=10, kind=kind, pid=pid)
        except ControlError as err:
            return err.what
        finally:
            os.seteuid(0)
        return ""

    try:
        assert hint("gamemode", os.getpid()) == f"process {os.getpid()} is not yours"
        world.session = False
        for kind in ("gamemode", "focus"):
            assert hint(kind, own.pid) == "your session is not the active one"
        world.session, world.owners = True, {1000}
        assert hint("focus", own.pid) == hint("focus", 0) == "a game of another user runs"
        assert world.asked == []
        assert hint("gamemode", own.pid) == "" and world.asked[-1][1]["pid"] == own.pid
        world.owners = {stranger}
        assert hint("focus", own.pid) == ""
    finally:
        own.kill()
        own.wait(10)
        turn.do(server.close)
        folder.rmdir()
