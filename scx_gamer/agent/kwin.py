# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter of KWin: a script loaded into KWin calls the agent on the session bus when the active window changes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from scx_gamer.agent.focus_calls import shell, take_focus_calls
from scx_gamer.agent.model import FOCUS, AgentError, Report
from scx_gamer.dbus.userbus import UserBus, UserBusError

KWIN, SCRIPTING, SCRIPTING_PATH = "org.kde.KWin", "org.kde.kwin.Scripting", "/Scripting"
SCRIPT = Path(__file__).with_name("kwin.js")
_PLUGIN = "scx-gamer-agent"


class KWin:
    """The adapter of KWin."""

    name = "KWin"

    def __init__(self, address: str, script: Path = SCRIPT) -> None:
        self._address = address
        self._script = script

    async def run(self, report: Report) -> None:
        async with shell(self._address, KWIN, self.name) as (bus, owner, changes):
            await take_focus_calls(bus, owner, lambda pid: report(FOCUS, pid, True))
            await self._load(bus, owner)
            try:
                await bus.wait(changes.get())
                raise AgentError("KWin has ended")
            finally:
                with suppress(UserBusError):
                    await bus.call(owner, SCRIPTING_PATH, SCRIPTING, "unloadScript", "s", [_PLUGIN])

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
