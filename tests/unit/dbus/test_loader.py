# SPDX-License-Identifier: GPL-2.0-or-later
"""org.scx.Loader on a real dbus-daemon, in a process of its own as the unit runs it, beside the supervisor's service.

The calls are those of scxctl 1.1.1 (sched-ext/scx-loader, crates/scxctl/src/main.rs).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.control import ControlError
from scx_gamer.control.operations import OPERATIONS, Operation
from scx_gamer.dbus import INTERFACE, OBJECT_PATH, BusError, wire
from scx_gamer.dbus.client import BusClient, NoService
from scx_gamer.dbus.interface import parse
from scx_gamer.dbus.loader import ACTION, LOADER, MODES, NAME, PATH
from scx_gamer.dbus.service import BusService, properties_of
from scx_gamer.system.exit_codes import FAILED, NO_PERMISSION, USAGE
from tests.hostile import attack, values
from tests.processes import running
from tests.unit.dbus.conftest import Daemon, Turning, turning
from tests.unit.dbus.test_service import wait

TREE = Path(__file__).parents[3]
ERROR = "org.freedesktop.DBus.Error."
DBUS = "org.freedesktop.DBus"


class Supervisor:
    """Its service on the bus, and a state that the operations move as the real ones do."""

    def __init__(self, turn: Turning) -> None:
        self.turn = turn
        self.state, self.profile, self.conflict = "idle", "auto", False
        self.asked: list[str] = []
        self.service: BusService | None = None

    def open(self) -> None:
        calls = {"start": self._start, "stop": self._stop, "restart": self._restart}
        table = {name: Operation(call, OPERATIONS[name]) for name, call in calls.items()}
        loop = self.turn.loop
        made = self.turn.do(lambda: BusService(loop, table, self._properties, lambda *_: None))
        wait(lambda: made.connected)
        self.service = made

    def close(self) -> None:
        if self.service is not None:
            self.turn.do(self.service.close)
            self.service = None

    def _properties(self) -> dict[str, Any]:
        return properties_of({"state": self.state, "games": [], "last_exit": None}, self.profile, 0)

    def _changed(self) -> None:
        assert self.service is not None
        self.service.changed()

    def become(self, state: str, profile: str = "auto") -> None:
        self.state, self.profile = state, profile
        self.turn.do(self._changed)

    def _start(self, args: Any, _uid: int) -> None:
        self.asked.append(f"start {args['profile']}")
        if self.conflict:
            raise ControlError(
                "the scheduler scx_lavd is loaded; ours follows when it ends", NO_PERMISSION
            )
        self.state, self.profile = "idle", args["profile"] or self.profile
        self._changed()

    def _stop(self, _args: Any, _uid: int) -> None:
        self.asked.append("stop")
        self.state = "off"
        self._changed()

    def _restart(self, _args: Any, _uid: int) -> None:
        self.asked.append("restart")


@pytest.fixture
def supervisor(bus: Daemon) -> Iterator[Supervisor]:
    with turning() as turn:
        made = Supervisor(turn)
        made.open()
        try:
            yield made
        finally:
            made.close()


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(bus: Daemon) -> Iterator[Start]:
    """Start the command; those that a test does not end are ended after it."""
    started: list[subprocess.Popen[str]] = []

    def begin(*options: str, named: bool = True) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "scx_gamer", "loader", *options],
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, cwd=TREE,
        )  # fmt: skip
        started.append(process)
        if named:
            wait(lambda: owner() or process.poll() is not None)
            assert process.poll() is None, process.communicate()
        return process

    try:
        yield begin
    finally:
        for process in started:
            process.kill()
            process.communicate()


def call(member: str, signature: str = "", *body: Any, interface: str = LOADER) -> list[Any]:
    with BusClient() as client:
        return client.call(
            member, signature, list(body), interface=interface, destination=NAME, path=PATH
        )


def of_bus(client: BusClient, member: str, signature: str, *body: Any) -> Any:
    return client.call(member, signature, list(body), interface=DBUS, destination=DBUS, path="/")[
        :1
    ]


def owner() -> str:
    with BusClient() as client:
        try:
            return str(of_bus(client, "GetNameOwner", "s", NAME)[0])
        except NoService:
            return ""


def properties() -> dict[str, Any]:
    found = call("GetAll", "s", LOADER, interface=f"{DBUS}.Properties")[0]
    return {name: one.value for name, one in found.items()}


def refused(*asked: Any) -> tuple[str, str]:
    with pytest.raises(BusError) as error:
        call(*asked)
    return error.value.name.removeprefix(ERROR), error.value.what


def test_what_scxctl_asks_and_does(supervisor: Supervisor, start: Start) -> None:
    start()
    assert properties() == {
        "CurrentScheduler": "scx_gamer",
        "SchedulerMode": 0,
        "CurrentSchedulerArgs": [],
        "SupportedSchedulers": ["scx_gamer"],
        "DefaultScheduler": "scx_gamer",
        "DefaultMode": 0,
    }
    call("StopScheduler")
    assert properties()["CurrentScheduler"] == "unknown"
    for number, name in enumerate(MODES):
        call("StartScheduler" if number % 2 else "SwitchScheduler", "su", "scx_gamer", number)
        assert supervisor.profile == name
        assert (properties()["CurrentScheduler"], properties()["SchedulerMode"]) == (
            "scx_gamer",
            number,
        )
    call("RestartScheduler")
    call("RestoreDefault")
    assert properties()["SchedulerMode"] == 0
    call("SwitchSchedulerWithArgs", "sas", "scx_gamer", [])
    starts = [f"start {name}" for name in MODES]
    assert supervisor.asked == ["stop", *starts, "restart", "start auto", "start auto"]


def test_wrong_calls_get_one_clear_line_and_change_nothing(
    supervisor: Supervisor, start: Start
) -> None:
    start()
    args = ("sas", "scx_gamer", ["--performance"])
    for member in ("StartSchedulerWithArgs", "SwitchSchedulerWithArgs"):
        name, text = refused(member, *args)
        assert name == "InvalidArgs" and "takes no arguments" in text and "\n" not in text
    assert refused("StartScheduler", "su", "scx_lavd", 1) == (
        "InvalidArgs",
        "scx_gamer is the only scheduler here",
    )
    name, text = refused("SwitchScheduler", "su", "scx_gamer", 5)
    assert name == "InvalidArgs" and "4 server" in text
    assert refused("StartScheduler", "ss", "scx_gamer", "1")[0] == "InvalidArgs"
    assert supervisor.asked == []
    supervisor.become("off")
    wait(lambda: properties()["CurrentScheduler"] == "unknown")
    assert refused("RestartScheduler") == ("Failed", "no scheduler is running to restart")
    supervisor.conflict = True
    assert refused("StartScheduler", "su", "scx_gamer", 0) == (
        "Failed",
        "the scheduler scx_lavd is loaded; ours follows when it ends",
    )


def test_changes_are_told_once_and_only_the_supervisor_is_believed(
    supervisor: Supervisor, start: Start
) -> None:
    start()
    with BusClient() as listener, BusClient() as stranger:
        rule = f"type='signal',sender='{NAME}'"
        of_bus(listener, "AddMatch", "s", rule)

        def told() -> dict[str, Any]:
            message = listener.receive()
            assert (message.path, message.member) == (PATH, "PropertiesChanged")
            assert message.body[0] == LOADER
            return {name: one.value for name, one in message.body[1].items()}

        supervisor.become("attached")  # was idle: the same for who has buttons
        supervisor.become("attached", "lowlatency")
        assert told() == {"SchedulerMode": 3}
        lie(stranger, owner())
        supervisor.become("conflict", "lowlatency")
        assert told() == {"CurrentScheduler": "unknown", "SchedulerMode": 0}
        supervisor.become("attached", "some-game")
        assert told() == {"CurrentScheduler": "scx_gamer"}
        supervisor.close()
        assert told() == {"CurrentScheduler": "unknown"}
        assert refused("StartScheduler", "su", "scx_gamer", 0) == (
            "Failed",
            "scx-gamer does not run: systemctl enable --now scx-gamer",
        )
        supervisor.open()
        assert told() == {"CurrentScheduler": "scx_gamer"}


def lie(client: BusClient, to: str) -> None:
    """Send the signal that the supervisor would send, as somebody else; answered before it returns."""
    lib = wire.library()
    body = [INTERFACE, {"ActiveProfile": lib.Variant("s", "server")}, []]
    made = lib.Message.new_signal(
        OBJECT_PATH, f"{DBUS}.Properties", "PropertiesChanged", "sa{sv}as", body
    )
    made.destination = to
    client._sock.sendall(wire.encode(made, 4711))
    client.call("Ping", interface=f"{DBUS}.Peer", destination=to, path=PATH)


def test_calls_that_mean_no_good_change_nothing(supervisor: Supervisor, start: Start) -> None:
    """Members and standard calls with any body, by root, whom polkit does not hold back."""
    rng, makers, lib = random.Random(22), values(random.Random(23)), wire.library()
    known = parse((TREE / "scx_gamer/dbus/loader.xml").read_text())[LOADER].methods

    def calls() -> Iterator[Any]:
        while True:
            member = rng.choice([*known, "Get", "GetAll", "Set", "Introspect", "x"])
            pieces = [rng.choice(list(makers)) for _ in range(rng.randint(0, 3))]
            signature = "".join(pieces)
            if not (member in known and known[member].takes == signature):
                yield lib.Message(
                    destination=NAME, path=rng.choice([PATH, PATH, "/", "/org"]), member=member,
                    interface=rng.choice([LOADER, f"{DBUS}.Properties", None, "a.b"]),
                    signature=signature, body=[makers[one]() for one in pieces],
                )  # fmt: skip

    start()
    with BusClient(60) as client:
        ends = attack(client, calls(), 1000)
        assert {f"{ERROR}{name}" for name in ("InvalidArgs", "UnknownMethod")} <= ends.keys()
    assert supervisor.asked == [] and properties()["CurrentScheduler"] == "scx_gamer"


def test_name_that_another_program_has_is_left_to_it(supervisor: Supervisor, start: Start) -> None:
    with BusClient() as other:
        assert of_bus(other, "RequestName", "su", NAME, 4) == [1]
        process = start(named=False)
        _, text = process.communicate(timeout=20)
        assert process.returncode == NO_PERMISSION
        assert text.count("\n") == 1 and NAME in text and "scx_loader" in text
    process = start()
    with BusClient() as other:  # as zbus asks: replace, and do not wait in line
        assert of_bus(other, "RequestName", "su", NAME, 2 | 4) == [1]
        _, text = process.communicate(timeout=20)
        assert process.returncode == NO_PERMISSION and "scx_loader" in text


def test_name_for_programs_with_a_fixed_list(supervisor: Supervisor, start: Start) -> None:
    start("--scheduler", "scx_lavd")
    assert properties()["CurrentScheduler"] == "scx_lavd"
    call("SwitchScheduler", "su", "scx_lavd", 1)
    assert supervisor.profile == "gaming"
    assert refused("SwitchScheduler", "su", "scx_gamer", 1)[0] == "InvalidArgs"


@pytest.mark.parametrize("name", ["", "lavd", "scx_", "scx_a b", "scx_\n", "scx_" + "x" * 61])
def test_names_that_no_scheduler_has(name: str, start: Start) -> None:
    process = start(f"--scheduler={name}" if name else "--scheduler=x", named=False)
    _, text = process.communicate(timeout=20)
    assert process.returncode == USAGE and text.count("\n") == 1, text


def test_bus_that_goes_ends_it(bus: Daemon, supervisor: Supervisor, start: Start) -> None:
    process = start()
    bus.stop()
    _, text = process.communicate(timeout=20)
    assert process.returncode == FAILED and "bus" in text


def as_stranger(*lines: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run lines of Python as a user who may nothing, with this module's names."""
    Path(os.environ["DBUS_SYSTEM_BUS_ADDRESS"].partition("path=")[2]).parent.chmod(0o755)
    program = "\n".join(
        # imports first, late ones too: the user may not be able to enter the folder of this tree
        ("from tests.unit.dbus.test_loader import *", "wire.library()", "os.setuid(65534)", *lines)
    )
    return running([sys.executable, "-c", program], cwd=TREE)


def test_ordinary_user_needs_polkit(supervisor: Supervisor, start: Start) -> None:
    """Reads are free. Without polkit nobody but root changes anything."""
    start()
    with as_stranger(
        "assert properties()['CurrentScheduler'] == 'scx_gamer'",
        "name, text = refused('StopScheduler')",
        "assert name == 'AccessDenied' and 'polkit' in text, (name, text)",
    ) as stranger:
        assert stranger.wait(60) == 0 and supervisor.asked == []


@pytest.mark.parametrize("allows", [True, False])
def test_polkit_is_asked_as_scx_loader_asks_it(
    allows: bool, supervisor: Supervisor, start: Start
) -> None:
    """For its action, and with leave to ask for a password: scxctl does not say that it may be asked."""
    start()
    with BusClient(60) as polkit:
        assert of_bus(polkit, "RequestName", "su", "org.freedesktop.PolicyKit1", 4) == [1]
        wanted = (
            "call('StopScheduler')" if allows else "assert 'polkit' in refused('StopScheduler')[1]"
        )
        with as_stranger(wanted) as stranger:
            question = polkit.receive()
            while question.member != "CheckAuthorization":
                question = polkit.receive()
            assert (question.body[1], question.body[3]) == (ACTION, 1)
            verdict = wire.library().Message.new_method_return(
                question, "(bba{ss})", [[allows, False, {}]]
            )
            polkit._sock.sendall(wire.encode(verdict, 4711))
            assert stranger.wait(60) == 0
    assert supervisor.asked == ["stop"] * allows


def test_files_of_the_bus_and_of_polkit_name_what_the_code_names() -> None:
    """Every interface that is answered may be sent to, and nothing else; the action is scx_loader's."""
    tree = ET.parse(TREE / "packaging/dbus/io.github.scx_gamer.Loader.conf")
    allowed = {rule.get("send_interface") for rule in tree.findall(".//policy[@context]/allow")}
    standard = {f"{DBUS}.{name}" for name in ("Properties", "Introspectable", "Peer")}
    assert allowed == {LOADER} | standard
    assert {rule.get("own") for rule in tree.findall(".//policy[@user='root']/allow")} == {NAME}
    policy = ET.parse(TREE / "packaging/polkit/io.github.scx_gamer.Loader.policy")
    assert [action.get("id") for action in policy.findall("action")] == [ACTION]
    unit = (TREE / "packaging/systemd/scx-gamer-loader.service").read_text()
    assert f"\nBusName={NAME}\n" in unit and f" {NO_PERMISSION}\n" in unit


def test_introspection_is_answered(supervisor: Supervisor, start: Start) -> None:
    start()
    xml = call("Introspect", interface=f"{DBUS}.Introspectable")[0]
    assert "SwitchSchedulerWithArgs" in parse(xml)[LOADER].methods
    with BusClient() as client:
        above = client.call(
            "Introspect", interface=f"{DBUS}.Introspectable", destination=NAME, path="/org"
        )
        assert '"scx"' in above[0]
