# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter of Hyprland: events on one socket, queries of the active window on another."""

from __future__ import annotations

import asyncio
from pathlib import Path

from scx_gamer.agent.model import (
    ANSWER_S,
    FOCUS,
    MAX_MESSAGE,
    AgentError,
    Report,
    connect,
    decoded,
    line_of,
    pid_of,
)

_EVENTS = (b"activewindowv2>>", b"closewindow>>")


class Hyprland:
    """The adapter of Hyprland."""

    name = "Hyprland"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def run(self, report: Report) -> None:
        reader, writer = await connect(str(self._folder / ".socket2.sock"), self.name)
        try:
            report(FOCUS, await self._active(), True)
            while True:
                line = await line_of(reader, self.name)
                if line.startswith(_EVENTS):
                    report(FOCUS, await self._active(), True)
        finally:
            writer.close()

    async def _active(self) -> int:
        """Return the pid of the active window, 0 if there is none. The answer ends with the connection."""
        reader, writer = await connect(str(self._folder / ".socket.sock"), self.name)
        try:
            writer.write(b"j/activewindow")
            answer = await asyncio.wait_for(reader.read(MAX_MESSAGE), ANSWER_S)
            while more := await asyncio.wait_for(reader.read(MAX_MESSAGE), ANSWER_S):
                answer += more
                if len(answer) > MAX_MESSAGE:
                    raise AgentError(f"{self.name} sent an answer of more than {MAX_MESSAGE} bytes")
        except (OSError, TimeoutError) as err:
            raise AgentError(f"{self.name} did not answer within {ANSWER_S:g} s") from err
        finally:
            writer.close()
        window = decoded(answer or b"{}", self.name)
        return pid_of(window.get("pid")) if isinstance(window, dict) else 0
