# SPDX-License-Identifier: GPL-2.0-or-later
"""The power source, with a stand-in for UPower, whose battery a test pulls out, on a real bus."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from scx_gamer.dbus import INTERFACE, wire
from scx_gamer.dbus.client import BusClient
from scx_gamer.dbus.endpoint import PROPERTIES
from scx_gamer.dbus.service import BusService
from scx_gamer.dbus.source import UPOWER
from tests.unit.dbus.conftest import Daemon, Turning, turning
from tests.unit.dbus.test_power import owned
from tests.unit.dbus.test_service import World, wait

# A line on stdin, 0 or 1, is the next value of OnBattery.
STAND_IN = """
import asyncio, os, sys
from scx_gamer.dbus.userbus import _decorator_of_old_typing
with _decorator_of_old_typing():
    from dbus_next.aio import MessageBus
    from dbus_next.service import PropertyAccess, ServiceInterface, dbus_property

class UPower(ServiceInterface):
    on = True
    @dbus_property(access=PropertyAccess.READ)
    def OnBattery(self) -> "b":
        return self.on

async def main():
    bus = await MessageBus(bus_address=os.environ["DBUS_SYSTEM_BUS_ADDRESS"]).connect()
    upower = UPower("org.freedesktop.UPower")
    bus.export("/org/freedesktop/UPower", upower)
    await bus.request_name("org.freedesktop.UPower")
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        upower.on = line.strip() == "1"
        upower.emit_properties_changed({"OnBattery": upower.on})

asyncio.run(main())
"""


class Upower:
    def __init__(self) -> None:
        command = [sys.executable, "-c", STAND_IN]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)

    def set(self, on_battery: bool) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{on_battery:d}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.kill()
        self.process.stdin.close()
        self.process.wait(10)


@pytest.fixture
def upower(bus: Daemon) -> Iterator[Upower]:
    made = Upower()
    try:
        wait(lambda: owned(UPOWER))
        yield made
    finally:
        made.end()


class Followed:
    """A service on a loop of its own, and what the source said."""

    def __init__(self, turn: Turning) -> None:
        self.turn, self.said = turn, []  # type: tuple[Turning, list[bool]]
        world = World()
        self.service: BusService = turn.do(
            lambda: BusService(turn.loop, {}, world.properties, world.hold, self.said.append)
        )
        wait(lambda: self.service.connected)
        self.source = self.service.source

    def watch(self) -> None:
        self.turn.do(lambda: self.source.watch(True))


@pytest.fixture
def followed(bus: Daemon) -> Iterator[Followed]:
    with turning() as turn:
        made = Followed(turn)
        try:
            yield made
        finally:
            turn.do(made.service.close)


def test_the_plug_is_followed(upower: Upower, followed: Followed) -> None:
    followed.turn.do(lambda: followed.source.watch(False))
    assert not followed.source._asked
    followed.watch()
    wait(lambda: followed.said == [True])
    for on_battery in (True, False, True):  # the first says nothing new
        upower.set(on_battery)
    wait(lambda: followed.said == [True, False, True])
    assert followed.source.on_battery is True and followed.source.why == ""


def test_another_program_is_not_believed(upower: Upower, followed: Followed) -> None:
    followed.watch()
    wait(lambda: followed.said == [True])
    bus = followed.service._bus
    assert bus is not None
    with BusClient() as liar:
        signal = wire.library().Message.new_signal(
            "/org/freedesktop/UPower", PROPERTIES, "PropertiesChanged",
            "sa{sv}as", [UPOWER, {"OnBattery": wire.library().Variant("b", False)}, []],
        )  # fmt: skip
        signal.destination = bus.name
        liar._sock.sendall(wire.encode(signal, 99))
        # answered after the signal, which came first
        liar.call("Get", "ss", [INTERFACE, "State"], interface=PROPERTIES)
    assert followed.said == [True]


def test_without_upower_it_says_why(followed: Followed) -> None:
    followed.watch()
    wait(lambda: "UPower does not say" in followed.source.why)
    assert followed.source.on_battery is None and not followed.said


def test_a_bus_that_comes_back_is_asked_again(
    bus: Daemon, upower: Upower, followed: Followed
) -> None:
    followed.watch()
    wait(lambda: followed.said == [True])
    bus.stop()
    wait(lambda: not followed.service.connected)
    assert followed.source.on_battery is True
    upower.end()
    bus.start()
    wait(lambda: "UPower does not say" in followed.source.why)
    again = Upower()
    try:
        wait(lambda: followed.source.why == "")
        again.set(False)
        wait(lambda: followed.said == [True, False])
    finally:
        again.end()
