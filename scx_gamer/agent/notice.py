# SPDX-License-Identifier: GPL-2.0-or-later
"""The desktop notification shown while the supervisor is in the state `fallback`."""

from __future__ import annotations

import asyncio
import html
from typing import Any

from scx_gamer.agent.model import AgentError, Report
from scx_gamer.dbus import BUS_NAME, INTERFACE, OBJECT_PATH
from scx_gamer.dbus.userbus import UserBus, UserBusError
from scx_gamer.system.text import printable

FALLBACK = "fallback"
GAP_S = 0.5  # between two queries, which bounds the cost of signals sent by other programs
_MAX_TEXT = 200  # of each part of a reason
_KEEP = 0  # expire_timeout: until the user closes it
_PROPERTIES = "org.freedesktop.DBus.Properties"
_SERVER, _SERVER_PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
_SUMMARY = "Games run without scx-gamer"
_TO_DO = "The kernel's own scheduler is back. See scx-gamer status; scx-gamer start tries again."


class Notice:
    """The adapter that reads the state on the system bus, without starting the supervisor, and notifies the session."""

    name = "notices"

    def __init__(self, session: str, system: str) -> None:
        self._session, self._system = session, system

    async def run(self, report: Report) -> None:
        try:
            async with UserBus(self._system) as system, UserBus(self._session) as session:
                await self._follow(system, session)
        except UserBusError as err:
            raise AgentError(f"notifications: {err}") from err

    async def _follow(self, system: UserBus, session: UserBus) -> None:
        changed = asyncio.Event()
        await system.on_owner(BUS_NAME, lambda _owner: changed.set())
        # A signal only triggers a query, because any program can send one.
        await system.on_signals(BUS_NAME, _PROPERTIES, lambda _member, _body: changed.set())
        shown = 0
        while True:
            why = await self._fallback_reason(system)
            if why is not None and not shown:
                shown = await self._show(session, why)
            elif why is None and shown:
                await self._call(session, "CloseNotification", "u", [shown])
                shown = 0
            await asyncio.sleep(GAP_S)
            await system.wait(changed.wait())
            changed.clear()

    @staticmethod
    async def _fallback_reason(system: UserBus) -> str | None:
        """Return the reason for `fallback`; None in any other state, or without a supervisor."""
        owner = await system.owner(BUS_NAME)
        if not owner:
            return None

        async def value(name: str) -> Any:
            get = (OBJECT_PATH, _PROPERTIES, "Get", "ss", [INTERFACE, name])
            return (await system.call(owner, *get)).value

        try:
            if await value("State") != FALLBACK:
                return None
            kind, _code, reason = await value("LastExit")
        except UserBusError as err:
            if await system.owner(BUS_NAME) == owner:
                raise
            del err  # the supervisor ended meanwhile
            return None
        return ": ".join(printable(str(part), _MAX_TEXT) for part in (kind, reason) if part)

    async def _show(self, session: UserBus, why: str) -> int:
        body = "\n".join(html.escape(line) for line in (why, _TO_DO) if line)
        values = ["scx-gamer", 0, "dialog-warning", _SUMMARY, body, [], {}, _KEEP]
        return int(await self._call(session, "Notify", "susssasa{sv}i", values))

    @staticmethod
    async def _call(session: UserBus, member: str, signature: str, body: list[Any]) -> Any:
        return await session.call(_SERVER, _SERVER_PATH, _SERVER, member, signature, body)
