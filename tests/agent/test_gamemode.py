# SPDX-License-Identifier: GPL-2.0-or-later
"""GameMode: the real daemon on a bus of its own."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys

import pytest

from scx_gamer.agent.gamemode import NAME, PATH, GameMode
from scx_gamer.agent.model import GAMEMODE
from scx_gamer.dbus.userbus import UserBus
from tests.agent.support import listening, session, until_ended


def test_games_are_told_and_the_daemon_is_not_started() -> None:
    async def scenario() -> None:
        with session() as own:
            address = own.bus()
            own.env["DBUS_SESSION_BUS_ADDRESS"] = address
            async with listening(GameMode(address)) as ear, UserBus(address) as bus:
                await asyncio.sleep(0.5)
                assert not ear.seen and not await bus.owner(NAME)  # looking has not started it
                daemon = own.start("gamemoded")
                async with asyncio.timeout(30):
                    while not await bus.owner(NAME):
                        await asyncio.sleep(0.05)
                game = own.start("sleep", "300")
                assert await bus.call(NAME, PATH, NAME, "RegisterGame", "i", [game.pid]) == 0
                await ear.until((GAMEMODE, game.pid, True))
                assert await bus.call(NAME, PATH, NAME, "UnregisterGame", "i", [game.pid]) == 0
                await ear.until((GAMEMODE, game.pid, False))
                assert await bus.call(NAME, PATH, NAME, "RegisterGame", "i", [game.pid]) == 0
                await ear.until((GAMEMODE, game.pid, True))
                async with listening(GameMode(address)) as late:  # it is asked what it has already
                    await late.until((GAMEMODE, game.pid, True))
                daemon.kill()
                await ear.until((GAMEMODE, game.pid, False))
                own.processes.remove(daemon)
                daemon.wait(5)

    asyncio.run(scenario())


def test_a_bus_that_goes_away_is_said() -> None:
    async def scenario() -> None:
        with session() as own:
            waiting = asyncio.create_task(until_ended(GameMode(own.bus())))
            await asyncio.sleep(0.5)
            own.processes[0].kill()
            assert "session bus" in await waiting
            own.processes.pop().wait(5)

    asyncio.run(scenario())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # dbus-next's own
def test_no_bus_is_said() -> None:
    assert "No such file" in asyncio.run(until_ended(GameMode("unix:path=/nonexistent")))
    assert "session bus" in asyncio.run(until_ended(GameMode("rubbish")))
    gc.collect()


def test_importing_the_command_line_brings_no_bus() -> None:
    code = "import sys, scx_gamer.cli.app as a; a.build(); print('dbus_next' in sys.modules, 'Xlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, check=True
    )
    assert done.stdout == "False False\n"
