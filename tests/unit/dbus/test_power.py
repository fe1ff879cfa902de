# SPDX-License-Identifier: GPL-2.0-or-later
"""The hold on the power profile, with the real power-profiles-daemon and its driver for tests, on a real bus."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.dbus.client import BusClient, NoService
from scx_gamer.dbus.power import NAMES
from scx_gamer.dbus.service import BusService
from tests.processes import running
from tests.unit.dbus.conftest import Daemon, Turning, turning
from tests.unit.dbus.test_service import World, wait

DAEMONS = tuple(f"{where}/power-profiles-daemon" for where in ("/usr/libexec", "/usr/lib"))
POLKITD = ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd", "/usr/libexec/polkit-1/polkitd")
NAME = NAMES[1]  # which every version answers to
pytestmark = pytest.mark.programs("powerprofilesctl")


def first(paths: tuple[str, ...]) -> str:
    return next(path for path in paths if Path(path).exists())


class Profiles:
    """polkitd, which the daemon asks about everybody but root, and the daemon."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start(first(POLKITD), "--no-debug")
        wait(lambda: owned("org.freedesktop.PolicyKit1"))
        self.begin()

    def start(self, *command: str) -> None:
        environment = {**os.environ, "POWER_PROFILE_DAEMON_FAKE_DRIVER": "1"}
        self.processes.append(
            subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip

    def begin(self) -> None:
        self.start(first(DAEMONS))
        wait(lambda: owned(NAME))
        wait(lambda: "performance" in [one["Profile"].value for one in self.get("Profiles")])

    def end(self) -> None:
        process = self.processes.pop()
        process.kill()
        process.wait(10)

    def get(self, name: str) -> Any:
        properties = "org.freedesktop.DBus.Properties"
        with BusClient() as client:
            path = "/" + NAME.replace(".", "/")
            asked = ("Get", "ss", [NAME, name])
            return client.call(*asked, interface=properties, destination=NAME, path=path)[0].value

    def choose(self, profile: str) -> None:
        """As a user does in a panel."""
        from scx_gamer.dbus import wire

        with BusClient() as client:
            value = wire.library().Variant("s", profile)
            client.call(
                "Set", "ssv", [NAME, "ActiveProfile", value],
                interface="org.freedesktop.DBus.Properties",
                destination=NAME, path="/" + NAME.replace(".", "/"),
            )  # fmt: skip

    def state(self) -> tuple[str, list[str]]:
        """The active profile, and the applications that hold one."""
        holds = self.get("ActiveProfileHolds")
        return self.get("ActiveProfile"), [one["ApplicationId"].value for one in holds]


def owned(name: str) -> bool:
    with BusClient() as client:
        try:
            client.call(
                "GetNameOwner", "s", [name], interface="org.freedesktop.DBus",
                destination="org.freedesktop.DBus", path="/",
            )  # fmt: skip
        except NoService:
            return False
    return True


@pytest.fixture
def profiles(bus: Daemon) -> Iterator[Profiles]:
    bus.path.parent.chmod(0o755)  # polkitd has a user of its own
    made = Profiles()
    try:
        yield made
    finally:
        while made.processes:
            made.end()


@pytest.fixture
def turn(bus: Daemon) -> Iterator[Turning]:
    with turning() as turn:
        yield turn


@pytest.fixture
def service(turn: Turning) -> Iterator[BusService]:
    world = World()
    made = turn.do(lambda: BusService(turn.loop, {}, world.properties, world.hold))
    wait(lambda: made.connected)
    try:
        yield made
    finally:
        turn.do(made.close)


HELD = ("performance", ["io.github.scx_gamer.Supervisor"])
FREE: tuple[str, list[str]] = ("balanced", [])


def want(turn: Turning, service: BusService, profile: str) -> None:
    turn.do(lambda: service.power.want(profile, "a game runs"))


def test_profile_is_held_for_as_long_as_it_is_wanted(
    profiles: Profiles, turn: Turning, service: BusService
) -> None:
    assert profiles.state() == FREE
    want(turn, service, "performance")
    wait(lambda: profiles.state() == HELD)
    wait(
        lambda: (
            service.power.status() == {"wanted": "performance", "held": "performance", "why": ""}
        )
    )
    want(turn, service, "power-saver")
    wait(lambda: profiles.state() == ("power-saver", HELD[1]))
    want(turn, service, "performance")
    want(turn, service, "")  # before the answer
    wait(lambda: profiles.state() == FREE and not service.power.status()["held"])


def test_another_choice_of_the_user_wins_until_the_next_game(
    profiles: Profiles, turn: Turning, service: BusService
) -> None:
    want(turn, service, "performance")
    wait(lambda: profiles.state() == HELD)
    profiles.choose("power-saver")
    wait(lambda: "chosen meanwhile" in service.power.status()["why"])
    assert profiles.state() == ("power-saver", []) and not service.power.status()["held"]
    want(turn, service, "")
    want(turn, service, "performance")
    wait(lambda: profiles.state() == HELD)
    assert profiles.state()[0] == "performance"


def test_killed_supervisor_leaves_no_hold(profiles: Profiles) -> None:
    program = (
        "from scx_gamer.system.loop import Loop\n"
        "from scx_gamer.dbus.service import BusService\n"
        "loop = Loop()\n"
        "service = BusService(loop, {}, dict, lambda *_: None)\n"
        "service.power.want('performance', 'a game runs')\n"
        "loop.run()\n"
    )
    with running([sys.executable, "-c", program]):
        wait(lambda: profiles.state() == HELD)
    wait(lambda: profiles.state() == FREE)


def test_bus_and_daemon_may_come_and_go(
    profiles: Profiles, turn: Turning, service: BusService
) -> None:
    want(turn, service, "performance")
    wait(lambda: service.power.status()["held"] == "performance")
    profiles.end()
    wait(lambda: "has ended" in service.power.status()["why"])
    want(turn, service, "")
    want(turn, service, "performance")
    wait(lambda: "ServiceUnknown" in service.power.status()["why"])
    assert service.power.status()["held"] == ""
    profiles.begin()
    want(turn, service, "")
    want(turn, service, "performance")
    wait(lambda: profiles.state() == HELD)


def test_stranger_cannot_say_that_the_hold_has_ended(
    profiles: Profiles, turn: Turning, service: BusService
) -> None:
    from scx_gamer.dbus import BUS_NAME, wire

    want(turn, service, "performance")
    wait(lambda: service.power.status()["held"] == "performance")
    lib = wire.library()
    with BusClient() as stranger:
        cookie = service.power._cookie
        made = lib.Message.new_signal("/x", NAME, "ProfileReleased", "u", [cookie])
        made.destination = BUS_NAME
        stranger._sock.sendall(wire.encode(made, 4711))
        stranger.call("Ping", interface="org.freedesktop.DBus.Peer")
    assert service.power.status()["held"] == "performance"
