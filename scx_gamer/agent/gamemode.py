# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter of GameMode on the session bus. Reading its list of games never starts it."""

from __future__ import annotations

import asyncio
from typing import Any

from scx_gamer.agent.model import GAMEMODE, AgentError, Report, pid_of
from scx_gamer.dbus.userbus import UserBus, UserBusError

NAME = "com.feralinteractive.GameMode"
PATH = "/com/feralinteractive/GameMode"


class GameMode:
    """The adapter of GameMode."""

    name = "GameMode"

    def __init__(self, address: str) -> None:
        self._address = address

    async def run(self, report: Report) -> None:
        games: set[int] = set()

        def unregister_all() -> None:
            for pid in games:
                report(GAMEMODE, pid, False)
            games.clear()

        def on_signal(member: str, body: list[Any]) -> None:
            pid = pid_of(body[0]) if body else 0
            if pid and member == "GameRegistered":
                games.add(pid)
                report(GAMEMODE, pid, True)
            elif pid and member == "GameUnregistered":
                games.discard(pid)
                report(GAMEMODE, pid, False)

        try:
            async with UserBus(self._address) as bus:
                await bus.on_signals(NAME, NAME, on_signal)
                changes: asyncio.Queue[str] = asyncio.Queue()
                await bus.on_owner(NAME, changes.put_nowait)
                owner = await bus.owner(NAME)
                while True:
                    unregister_all()
                    if owner:
                        # call the unique name: a call to the well-known name would start GameMode
                        for entry in await bus.call(owner, PATH, NAME, "ListGames"):
                            on_signal("GameRegistered", list(entry))
                    owner = await bus.wait(changes.get())
        except UserBusError as err:
            raise AgentError(
                f"session bus: {err}", hint="games of GameMode are not reported"
            ) from err
        finally:
            unregister_all()
