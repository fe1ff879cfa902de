# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties of units that are held for a game, with a stand-in for systemd on a real bus."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scx_gamer.cli import daemon
from scx_gamer.dbus import BusError, wire
from scx_gamer.dbus.client import BusClient
from scx_gamer.dbus.endpoint import PROPERTIES
from scx_gamer.dbus.service import BusService
from scx_gamer.dbus.units import (
    IO_WEIGHT,
    MAX_FILE_BYTES,
    MEMORY_LOW,
    SYSTEMD,
    UnitHold,
    give_back,
    parse,
    units_of,
)
from scx_gamer.service.resources import Resources
from scx_gamer.system.procfs import boot_id
from tests.processes import running
from tests.unit.dbus.conftest import Daemon, Turning, turning
from tests.unit.dbus.test_power import owned
from tests.unit.dbus.test_service import World, wait

# Units have MemoryLow 0 and IOWeight unset at first; closed.slice may not be changed, gone.scope is no more.
STAND_IN = """
import asyncio, os
from scx_gamer.dbus.userbus import _decorator_of_old_typing
with _decorator_of_old_typing():
    from dbus_next import Message, MessageType, Variant
    from dbus_next.aio import MessageBus

values = {"MemoryLow": {}, "IOWeight": {}}

def answer(message):
    if message.message_type is not MessageType.METHOD_CALL:
        return None
    if message.member == "Get":
        unit = bytes(message.path.rpartition("/")[2], "ascii").decode()
        for code in ("2e", "2d", "40"):
            unit = unit.replace("_" + code, chr(int(code, 16)))
        kind, name = message.body
        if kind.rpartition(".")[2].lower() != unit.rpartition(".")[2]:
            return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownInterface", kind)
        value = values[name].get(unit, 0 if name == "MemoryLow" else 2**64 - 1)
        return Message.new_method_return(message, "v", [Variant("t", value)])
    if message.member == "SetUnitProperties":
        unit, runtime, properties = message.body
        assert runtime and message.signature == "sba(sv)"
        if unit == "gone.scope":
            return Message.new_error(message, "org.freedesktop.systemd1.NoSuchUnit", "Unit gone.scope not found.")
        if unit == "closed.slice":
            return Message.new_error(message, "org.freedesktop.DBus.Error.AccessDenied", "Permission denied")
        for name, value in properties:
            values[name][unit] = value.value
        return Message.new_method_return(message)

async def main():
    bus = await MessageBus(bus_address=os.environ["DBUS_SYSTEM_BUS_ADDRESS"]).connect()
    bus.add_message_handler(answer)
    await bus.request_name("org.freedesktop.systemd1")
    await bus.wait_for_disconnect()

asyncio.run(main())
"""
UNSET = (1 << 64) - 1
GAME = ("user-1000.slice", MEMORY_LOW)
DISK = ("system.slice", IO_WEIGHT)


def value_of(unit: str, name: str) -> int:
    path = f"/org/freedesktop/systemd1/unit/{unit.replace('-', '_2d').replace('.', '_2e')}"
    with BusClient() as client:
        interface = f"{SYSTEMD}.{unit.rpartition('.')[2].capitalize()}"
        asked = ("Get", "ss", [interface, name])
        found = client.call(*asked, interface=PROPERTIES, destination=SYSTEMD, path=path)
        return int(found[0].value)


def set_value(unit: str, name: str, value: int) -> None:
    with BusClient() as client:
        body = [unit, True, [[name, wire.library().Variant("t", value)]]]
        client.call(
            "SetUnitProperties", "sba(sv)", body, interface=f"{SYSTEMD}.Manager",
            destination=SYSTEMD, path="/org/freedesktop/systemd1",
        )  # fmt: skip


@pytest.fixture
def systemd(bus: Daemon) -> Iterator[None]:
    with running([sys.executable, "-c", STAND_IN]):
        wait(lambda: owned(SYSTEMD))
        yield


class Holding:
    """A service on a loop of its own, and its hold with a file."""

    def __init__(self, turn: Turning, file: Path) -> None:
        self.turn, self.file = turn, file
        world = World()
        self.service: BusService = turn.do(
            lambda: BusService(turn.loop, {}, world.properties, world.hold)
        )
        wait(lambda: self.service.connected)
        self.hold: UnitHold = turn.do(lambda: UnitHold(file, boot_id()))
        turn.do(lambda: self.service.add_units(self.hold))

    def want(self, wanted: dict[tuple[str, str], int]) -> None:
        self.turn.do(lambda: self.hold.want(wanted))

    def held(self) -> dict[tuple[str, str], object]:
        rows = self.turn.do(self.hold.held)
        return {(row["unit"], row["property"]): row["value"] for row in rows}

    def settled(self) -> bool:
        return self.turn.do(lambda: not self.hold._waiting) is True


@pytest.fixture
def holding(bus: Daemon, tmp_path: Path) -> Iterator[Holding]:
    with turning() as turn:
        made = Holding(turn, tmp_path / "units.json")
        try:
            yield made
        finally:
            turn.do(made.service.close)


@pytest.mark.parametrize(
    ("cgroup", "units"),
    [
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-steam-9.scope",
            ("user.slice", "user-1000.slice", "user@1000.service"),
        ),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            ("user.slice", "user-1000.slice", "session-3.scope"),
        ),
        ("/system.slice/docker-ab.scope/init.scope", ("system.slice", "docker-ab.scope")),
        ("/user.slice/../x.slice", ("user.slice",)),
        ("/user.slice/a b.scope", ("user.slice",)),
        ("/lxc/game", ()),
        ("/", ()),
        ("", ()),
    ],
)
def test_units_of_a_cgroup(cgroup: str, units: tuple[str, ...]) -> None:
    assert units_of(cgroup) == units


def test_what_is_wanted_is_held_and_given_back(systemd: None, holding: Holding) -> None:
    holding.want({GAME: 1 << 30, DISK: 20})
    wait(lambda: holding.held() == {GAME: 1 << 30, DISK: 20} and holding.settled())
    assert (value_of(*GAME), value_of(*DISK)) == (1 << 30, 20)
    held = json.loads(holding.file.read_bytes())["held"]
    assert held == [[*GAME, 0, 1 << 30], [*DISK, UNSET, 20]]
    holding.want({GAME: 1 << 20})
    wait(lambda: value_of(*GAME) == 1 << 20 and holding.settled())
    assert value_of(*DISK) == UNSET and holding.held() == {GAME: 1 << 20}
    holding.want({})
    wait(lambda: not holding.file.exists())
    assert value_of(*GAME) == 0 and not holding.held() and holding.hold.why == ""


def test_what_the_administrator_set_is_never_made_less(systemd: None, holding: Holding) -> None:
    set_value(*GAME, 1 << 31)
    set_value(*DISK, 10)
    more = ("user.slice", MEMORY_LOW)
    set_value(*more, 1 << 10)
    holding.want({GAME: 1 << 30, DISK: 20, more: 1 << 30})
    wait(lambda: holding.held() == {more: 1 << 30} and holding.settled())
    assert (value_of(*GAME), value_of(*DISK), value_of(*more)) == (1 << 31, 10, 1 << 30)
    holding.want({})
    wait(lambda: not holding.file.exists())
    assert (value_of(*GAME), value_of(*DISK), value_of(*more)) == (1 << 31, 10, 1 << 10)


def test_a_refusal_is_told_and_leaves_nothing(systemd: None, holding: Holding) -> None:
    holding.want({("closed.slice", MEMORY_LOW): 1})
    wait(lambda: "Permission denied" in holding.hold.why)
    assert holding.hold.why.startswith("closed.slice MemoryLow is not held: ")
    assert not holding.held() and not holding.file.exists()


def test_without_a_file_nothing_is_changed(systemd: None, holding: Holding) -> None:
    holding.file.mkdir()  # which cannot be replaced by a file
    holding.want({GAME: 1 << 30})
    wait(lambda: str(holding.file) in holding.hold.why)
    assert value_of(*GAME) == 0 and not holding.held()


def test_a_closed_session_takes_its_properties_along(
    systemd: None, holding: Holding, tmp_path: Path
) -> None:
    gone, left = ["gone.scope", MEMORY_LOW, 0, 5], ["closed.slice", MEMORY_LOW, 0, 5]
    holding.file.write_text(json.dumps({"boot": boot_id(), "held": [gone]}))
    assert give_back(holding.file, boot_id()) == "" and not holding.file.exists()
    holding.file.write_text(json.dumps({"boot": boot_id(), "held": [gone, left]}))
    assert "closed.slice MemoryLow is not given back" in give_back(holding.file, boot_id())
    assert json.loads(holding.file.read_bytes())["held"] == [left]
    again: UnitHold = holding.turn.do(lambda: UnitHold(holding.file, boot_id()))
    holding.turn.do(lambda: holding.service.add_units(again))
    wait(lambda: "closed.slice MemoryLow is not given back" in again.why)


def test_killed_supervisor_s_properties_are_the_next_one_s(
    systemd: None, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import sys, pathlib\n"
        "from scx_gamer.system.loop import Loop\n"
        "from scx_gamer.dbus.service import BusService\n"
        "from scx_gamer.dbus.units import UnitHold\n"
        "from scx_gamer.system.procfs import boot_id\n"
        "loop = Loop()\n"
        "service = BusService(loop, {}, dict, lambda *_: None)\n"
        "hold = UnitHold(pathlib.Path(sys.argv[1]), boot_id())\n"
        "service.add_units(hold)\n"
        f"hold.want({ ({GAME: 1 << 30, DISK: 20})!r})\n"
        "loop.run()\n"
    )
    holding.turn.do(holding.service.close)
    state = holding.file.parent
    for variable in ("SCX_GAMER_STATE_DIR", "SCX_GAMER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(state))
    for way in ("next supervisor", "give-back"):
        command = [sys.executable, "-c", program, str(holding.file)]
        with running(command):
            wait(lambda: (value_of(*GAME), value_of(*DISK)) == (1 << 30, 20))
        assert value_of(*GAME) == 1 << 30  # nobody has given it back yet
        if way == "give-back":
            assert daemon.run(None, None, give_back=True) == 0
        else:
            with turning() as turn:
                again = Holding(turn, holding.file)
                wait(lambda: not holding.file.exists())
                turn.do(again.service.close)
        assert (value_of(*GAME), value_of(*DISK)) == (0, UNSET) and not holding.file.exists()


def test_what_was_written_down_and_not_done_is_done(systemd: None, holding: Holding) -> None:
    """A supervisor that was killed between the two, and the same game."""
    holding.file.write_text(json.dumps({"boot": boot_id(), "held": [[*GAME, 0, 5]]}))
    again: UnitHold = holding.turn.do(lambda: UnitHold(holding.file, boot_id()))
    holding.turn.do(lambda: again.want({GAME: 5}))
    holding.turn.do(lambda: holding.service.add_units(again))
    wait(lambda: value_of(*GAME) == 5)
    holding.turn.do(lambda: again.want({}))
    wait(lambda: value_of(*GAME) == 0 and not holding.file.exists())


def test_nothing_of_another_boot_is_given_back(bus: Daemon, tmp_path: Path) -> None:
    """Without a systemd on this bus: whoever called would fail."""
    file = tmp_path / "units.json"
    file.write_text(json.dumps({"boot": "another", "held": [[*GAME, 0, 5]]}))
    assert give_back(file, boot_id()) == "" and not file.exists()


def test_give_back_without_systemd_keeps_the_file(
    bus: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "units.json"
    text = json.dumps({"boot": boot_id(), "held": [[*GAME, 0, 5]]})
    file.write_text(text)
    for variable in ("SCX_GAMER_STATE_DIR", "SCX_GAMER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(BusError, match="is not given back"):
        daemon.run(None, None, give_back=True)
    assert file.read_text() == text
    bus.stop()
    with pytest.raises(BusError, match="no bus at"):
        daemon.run(None, None, give_back=True)
    assert file.read_text() == text


def test_the_bus_may_come_and_go(bus: Daemon, tmp_path: Path, holding: Holding) -> None:
    holding.want({GAME: 1 << 30})
    wait(lambda: "NameHasNoOwner" in holding.hold.why)
    bus.stop()
    wait(lambda: not holding.service.connected)
    bus.start()
    with running([sys.executable, "-c", STAND_IN]):
        wait(lambda: owned(SYSTEMD))
        holding.want({})
        holding.want({GAME: 1 << 30})
        wait(lambda: holding.held() == {GAME: 1 << 30} and holding.settled())
        assert value_of(*GAME) == 1 << 30
        holding.turn.do(holding.service.close)
        holding.turn.do(holding.hold.close)
        assert value_of(*GAME) == 0 and not holding.file.exists()


def test_settings_become_properties(systemd: None, holding: Holding, tmp_path: Path) -> None:
    """Of the units that a process of the test is in, which is none in many a container."""
    made: Resources = holding.turn.do(lambda: Resources(holding.service, holding.file, boot_id()))
    holding.turn.do(lambda: made.follow({"memory_low_mb": 0, "background_io_weight": 100}, [1]))
    assert made.status() is None
    holding.turn.do(lambda: made.follow({"memory_low_mb": 0, "background_io_weight": 30}, [-1]))
    wait(lambda: value_of(*DISK) == 30)
    holding.turn.do(lambda: made.follow({"memory_low_mb": 5, "background_io_weight": 30}, []))
    assert value_of(*DISK) == 30  # the grace period
    holding.turn.do(lambda: made.follow({"memory_low_mb": 5, "background_io_weight": 30}, [-1]))
    assert made.status()["why"] == "the game is in no unit of systemd"  # type: ignore[index]
    holding.turn.do(lambda: made.follow({}, []))
    wait(lambda: value_of(*DISK) == UNSET and not holding.file.exists())
    assert made.status() == {"memory_low_mb": 0, "held": [], "why": ""}


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"{}", b'{"boot": "b", "held": {}}', b'{"boot": "b", "held": [["a.slice"]]}',
        b'{"boot": "b", "held": [["a.slice", "MemoryLow", 0, true]]}',
        b'{"boot": "b", "held": [["a.slice", "MemoryMax", 0, 1]]}',
        b'{"boot": "b", "held": [["/a.slice", "MemoryLow", 0, 1]]}',
        b'{"boot": "b", "held": [["a.slice", "MemoryLow", -1, 1]]}',
        b'{"boot": "b", "held": [["a.slice", "MemoryLow", 0, 18446744073709551616]]}',
        b'{"boot": "b", "held": [' + b'["a.slice", "MemoryLow", 0, 1],' * 64
        + b'["a.slice", "MemoryLow", 0, 1]]}',
    ],
)  # fmt: skip
def test_a_file_that_no_supervisor_wrote_is_refused(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not |malformed|out of range|Expecting"):
        parse(raw, "b")
    assert len(raw) < MAX_FILE_BYTES
    file = tmp_path / "units.json"
    file.write_bytes(raw)
    assert give_back(file, "b") == "" and not file.exists()
