# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter of KWin: a script loaded into KWin calls the agent on the session bus when the active window changes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from scx_gamer.agent.model import FOCUS, AgentError, Report, pid_of
from scx_gamer.dbus.userbus import UserBus, UserBusError

KWIN, SCRIPTING, SCRIPTING_PATH = "org.kde.KWin", "org.kde.kwin.Scripting", "/Scripting"
AGENT, AGENT_PATH = "io.github.scx_gamer.Agent1", "/io/github/scx_gamer/Agent1"
SCRIPT = Path(__file__).with_name("kwin.js")
_PLUGIN = "scx-gamer-agent"


class KWin:
    """The adapter of KWin."""

    name = "KWin"

    def __init__(self, address: str, script: Path = SCRIPT) -> None:
        self._address = address
        self._script = script

    async def run(self, report: Report) -> None:
        try:
            async with UserBus(self._address) as bus:
                changes: asyncio.Queue[str] = asyncio.Queue()
                await bus.on_owner(KWIN, changes.put_nowait)
                owner = await bus.owner(KWIN)
                if not owner:
                    raise AgentError("KWin is not on the session bus")

                def on_call(sender: str, member: str, body: list[Any]) -> bool:
                    if sender != owner or member != "Focus" or len(body) != 1:
                        return False
                    number = body[0]
                    report(
                        FOCUS, pid_of(int(number) if isinstance(number, float) else number), True
                    )
                    return True

                bus.on_call(AGENT_PATH, AGENT, on_call)
                if not await bus.request_name(AGENT):
                    raise AgentError(
                        f"the bus name {AGENT} is taken", hint="another agent runs in this session"
                    )
                await self._load(bus, owner)
                try:
                    await bus.wait(changes.get())
                    raise AgentError("KWin has ended")
                finally:
                    with suppress(UserBusError):
                        await bus.call(
                            owner, SCRIPTING_PATH, SCRIPTING, "unloadScript", "s", [_PLUGIN]
                        )
        except UserBusError as err:
            raise AgentError(f"session bus: {err}") from err

    async def _load(self, bus: UserBus, owner: str) -> None:
        """Load the script, and unload that of a killed agent before: KWin rejects a second one. Raises AgentError."""
        await bus.call(owner, SCRIPTING_PATH, SCRIPTING, "unloadScript", "s", [_PLUGIN])
        arguments = [str(self._script), _PLUGIN]
        number = await bus.call(owner, SCRIPTING_PATH, SCRIPTING, "loadScript", "ss", arguments)
        if type(number) is not int or number < 0:
            raise AgentError(
                f"KWin did not load {self._script}", hint="check that the file is readable"
            )
        await bus.call(owner, SCRIPTING_PATH, SCRIPTING, "start")
