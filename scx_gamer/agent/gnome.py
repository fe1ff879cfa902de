# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter of GNOME Shell on Wayland: an extension of ours, packaging/gnome-shell, reports the focused window."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from scx_gamer.agent.focus_calls import shell, take_focus_calls
from scx_gamer.agent.model import FOCUS, Adapter, AgentError, Report

SHELL = "org.gnome.Shell"
EXTENSION = "focus@scx_gamer.github.io"
FIRST_S = 5.0  # within which an extension that runs has answered the appearance of our bus name
WHY = (
    f"GNOME Shell does not report the focus: gnome-extensions enable {EXTENSION}, after a new login"
)


class Gnome:
    """The adapter. Until the extension reports, `instead` does, which sees the windows of XWayland only."""

    name = "GNOME Shell"

    def __init__(self, address: str, instead: Adapter | None) -> None:
        self._address = address
        self._instead = instead

    async def run(self, report: Report) -> None:
        async with shell(self._address, SHELL, self.name) as (bus, owner, changes):
            reported = asyncio.Event()
            stopgap = asyncio.create_task(self._report_instead(report, reported))

            def focused(pid: int) -> None:
                stopgap.cancel()
                reported.set()
                report(FOCUS, pid, True)

            try:
                await take_focus_calls(bus, owner, focused)
                await bus.wait(changes.get())
            finally:
                stopgap.cancel()
            raise AgentError(f"{self.name} has ended")

    async def _report_instead(self, report: Report, reported: asyncio.Event) -> None:
        """Say why the focus is unknown once the extension had its time; report what is known without it."""
        with suppress(TimeoutError):
            await asyncio.wait_for(reported.wait(), FIRST_S)
            return
        if self._instead is not None:
            with suppress(AgentError):
                await self._instead.run(partial(report, why=WHY))
        report(FOCUS, 0, True, WHY)
