# SPDX-License-Identifier: GPL-2.0-or-later
"""MemoryLow= of a game's units in the user's own systemd: over two real buses, with stand-ins for both programs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageType
from dbus_next.message import Message
from dbus_next.signature import Variant

from scx_gamer.agent.main import adapters
from scx_gamer.agent.memory import GameMemory, units_in_session, wanted_of
from scx_gamer.dbus import BUS_NAME
from scx_gamer.dbus.units import SYSTEMD
from tests.agent.support import listening, session
from tests.agent.test_notice import Supervisor, connected
from tests.processes import running

MB = 1 << 20
UID = os.getuid()
CGROUP = f"0::/user.slice/user-{UID}.slice/user@{UID}.service/app.slice/app-doom-7.scope/inner\n"


class Playing(Supervisor):
    """A supervisor whose settings protect the memory of this process."""

    def __init__(self, bus: MessageBus) -> None:
        super().__init__(bus)
        self.values |= {"State": Variant("s", "idle"), "ActiveGame": Variant("u", 0)}
        self.memory_mb = 64

    def _on_message(self, message: Message) -> Any:
        if message.message_type == MessageType.METHOD_CALL and message.member == "Query":
            game = {"pid": os.getpid(), "main_pid": os.getpid()}
            status = {"resources": {"memory_low_mb": self.memory_mb}, "games": [game]}
            return Message.new_method_return(message, "s", [json.dumps(status)])
        return super()._on_message(message)

    def play(self, pid: int) -> None:
        self.values["ActiveGame"] = Variant("u", pid)
        self.become("attached" if pid else "idle")


class UserSystemd:
    """A user's systemd: values of MemoryLow by unit, some of which it keeps anybody from changing."""

    def __init__(self, bus: MessageBus) -> None:
        self.low: dict[str, int] = {}
        self.closed: set[str] = set()
        bus.add_message_handler(self._on_message)

    def _on_message(self, message: Message) -> Any:
        if message.message_type != MessageType.METHOD_CALL:
            return None
        if message.member == "Get":
            unit = message.path.rpartition("/")[2].replace("_2d", "-").replace("_2e", ".")
            return Message.new_method_return(message, "v", [Variant("t", self.low.get(unit, 0))])
        if message.member == "SetUnitProperties":
            unit, _runtime, ((name, value),) = message.body
            assert name == "MemoryLow"
            if unit in self.closed:
                denied = "org.freedesktop.DBus.Error.AccessDenied"
                return Message.new_error(message, denied, "no")
            self.low[unit] = value.value
            return Message.new_method_return(message)
        return None


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not probe():
            await asyncio.sleep(0.02)


class Scene:
    """The addresses of both buses, the user's systemd, and the files of an agent."""

    def __init__(self, desktop: str, machine: str, systemd: UserSystemd, folder: Path) -> None:
        self.desktop, self.machine, self.systemd = desktop, machine, systemd
        self.file = folder / "units.json"
        self.proc = folder / "proc"
        (self.proc / str(os.getpid())).mkdir(parents=True)
        (self.proc / str(os.getpid()) / "cgroup").write_text(CGROUP)

    def adapter(self) -> GameMemory:
        return GameMemory(self.desktop, self.machine, self.file, self.proc)


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    with session() as own, session() as machine:
        desktop, system = own.bus(), machine.bus()
        async with connected(desktop, SYSTEMD) as bus:
            yield Scene(desktop, system, UserSystemd(bus), folder)


def test_the_game_s_units_are_protected_as_long_as_it_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path) as here, listening(here.adapter()):
            low = here.systemd.low
            low["app.slice"] = 5
            both = {"app.slice": 64 * MB, "app-doom-7.scope": 64 * MB}
            none = {"app.slice": 5, "app-doom-7.scope": 0}
            async with connected(here.machine, BUS_NAME) as bus:
                supervisor = Playing(bus)
                supervisor.play(1)
                await until(lambda: low == both)
                supervisor.play(0)
                await until(lambda: low == none and not here.file.exists())
                supervisor.play(1)
                await until(lambda: low == both)
                supervisor.memory_mb = 32  # another profile
                supervisor.play(1)
                await until(lambda: set(low.values()) == {32 * MB})
            # the supervisor was killed
            await until(lambda: low == none and not here.file.exists())
            async with connected(here.machine, BUS_NAME) as bus:
                Playing(bus).play(1)
                await until(lambda: low == both)
                low["app-doom-7.scope"] = 0
        assert low["app.slice"] == 5 and not here.file.exists()  # and the agent's own end

    asyncio.run(scenario())


def test_what_a_killed_agent_held_is_the_next_one_s_to_give_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path) as here, connected(here.machine, BUS_NAME) as bus:
            supervisor = Playing(bus)
            supervisor.play(1)
            program = (
                "import asyncio, sys, pathlib\n"
                "from scx_gamer.agent.memory import GameMemory\n"
                "one = GameMemory(sys.argv[1], sys.argv[2], *map(pathlib.Path, sys.argv[3:]))\n"
                "asyncio.run(one.run(print))\n"
            )
            # the process that plays is this one, which the agent of another process sees as its user's too
            words = (here.desktop, here.machine, str(here.file), str(here.proc))
            with running([sys.executable, "-c", program, *words]):
                await until(lambda: here.systemd.low.get("app-doom-7.scope") == 64 * MB)
            rows = here.file.read_bytes()
            here.systemd.low["app-doom-7.scope"] = 0  # as if it had been killed before it set it
            async with listening(here.adapter()):
                await until(lambda: here.systemd.low["app-doom-7.scope"] == 64 * MB)
            here.file.write_bytes(rows)
            supervisor.play(0)
            async with listening(here.adapter()):
                await until(lambda: set(here.systemd.low.values()) == {0})
                await until(lambda: not here.file.exists())

    asyncio.run(scenario())


def test_a_refusal_leaves_nothing_and_does_not_end_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path) as here, connected(here.machine, BUS_NAME) as bus:
            here.systemd.closed.add("app.slice")
            Playing(bus).play(1)
            async with listening(here.adapter()):
                await until(lambda: here.systemd.low == {"app-doom-7.scope": 64 * MB})
                rows = json.loads(here.file.read_bytes())["held"]
                assert [row[0] for row in rows] == ["app-doom-7.scope"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("cgroup", "units"),
    [
        (
            "/user.slice/user-7.slice/user@7.service/app.slice/a.scope/b.scope",
            ("app.slice", "a.scope"),
        ),
        ("/user.slice/user-7.slice/user@7.service/x", ()),
        ("/user.slice/user-8.slice/user@8.service/app.slice/a.scope", ()),
        ("/user.slice/user-7.slice/session-1.scope", ()),
        ("", ()),
    ],
)
def test_units_of_a_user_s_own_systemd(cgroup: str, units: tuple[str, ...]) -> None:
    assert units_in_session(cgroup, 7) == units


@pytest.mark.parametrize(
    "status",
    [
        None, [], {}, {"resources": 1, "games": []}, {"resources": {"memory_low_mb": 5}},
        {"resources": {"memory_low_mb": -5}, "games": [{"main_pid": 1}]},
        {"resources": {"memory_low_mb": 1 << 21}, "games": [{"main_pid": 1}]},
        {"resources": {"memory_low_mb": True}, "games": [{"main_pid": 1}]},
        {"resources": {"memory_low_mb": 5}, "games": [1, {}, {"main_pid": "1"}, {"main_pid": -1}]},
    ],
)  # fmt: skip
def test_an_odd_status_asks_for_nothing(status: Any) -> None:
    assert wanted_of(status) == {}


def test_it_is_part_of_a_session_with_a_bus() -> None:
    env = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/none", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert any(isinstance(one, GameMemory) for one in adapters(env))
