# SPDX-License-Identifier: GPL-2.0-or-later
"""Desktop notifications: while the supervisor is in the state `fallback`, when a game begins, when it has ended."""

from __future__ import annotations

import html
import json
from typing import Any

from scx_gamer.agent.bus_adapter import BusAdapter, is_ours
from scx_gamer.dbus import BUS_NAME, ERROR_PREFIX, INTERFACE, OBJECT_PATH
from scx_gamer.dbus.userbus import UserBus, UserBusError
from scx_gamer.sessions import summary
from scx_gamer.system.text import printable

FALLBACK = "fallback"
_MAX_TEXT = 200  # of each part of a reason
_KEEP, _SERVER_S = 0, -1  # expire_timeout: until the user closes it; as long as the server likes
_SERVER, _SERVER_PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
_SUMMARY = "Games run without scx-gamer"
_TO_DO = "The kernel's own scheduler is back. See scx-gamer status; scx-gamer start tries again."


class _Notifier(BusAdapter):
    """An adapter that shows notifications in the session."""

    @staticmethod
    async def _call(session: UserBus, member: str, signature: str, body: list[Any]) -> Any:
        return await session.call(_SERVER, _SERVER_PATH, _SERVER, member, signature, body)

    async def _show(
        self, session: UserBus, icon: str, title: str, text: str, expire_ms: int
    ) -> int:
        """Show a notification and return its number. `text` is no markup."""
        values = ["scx-gamer", 0, icon, title, html.escape(text), [], {}, expire_ms]
        return int(await self._call(session, "Notify", "susssasa{sv}i", values))


class Notice(_Notifier):
    """Shows the reason while the state is `fallback`."""

    name = "notices"

    async def _follow(self, system: UserBus, session: UserBus) -> None:
        changed = await self._changes(system)
        shown = 0
        while True:
            why = await self._fallback_reason(system)
            if why is not None and not shown:
                text = "\n".join(line for line in (why, _TO_DO) if line)
                shown = await self._show(session, "dialog-warning", _SUMMARY, text, _KEEP)
            elif why is None and shown:
                await self._call(session, "CloseNotification", "u", [shown])
                shown = 0
            await self._next_change(system, changed)

    async def _fallback_reason(self, system: UserBus) -> str | None:
        """Return the reason for `fallback`; None in any other state, or without a supervisor."""
        owner = await system.owner(BUS_NAME)
        if not owner:
            return None
        try:
            if await self._value(system, owner, "State") != FALLBACK:
                return None
            kind, _code, reason = await self._value(system, owner, "LastExit")
        except UserBusError:
            if await system.owner(BUS_NAME) == owner:
                raise
            return None  # the supervisor ended meanwhile
        return ": ".join(printable(str(part), _MAX_TEXT) for part in (kind, reason) if part)


class SessionNotice(_Notifier):
    """Shows a line when a game of this user begins, and a sentence about the session when it has been recorded."""

    name = "session notices"

    def __init__(self, session: str, system: str, *, at_start: bool, at_end: bool) -> None:
        super().__init__(session, system)
        self._at_start, self._at_end = at_start, at_end

    async def _follow(self, system: UserBus, session: UserBus) -> None:
        changed = await self._changes(system)
        playing, last = 0, -1  # the game that was told of; the newest session, unknown at first
        while True:
            try:
                game, newest, record = await self._look(system, last)
            except UserBusError:
                if await system.owner(BUS_NAME):
                    raise
                game, newest, record = 0, -1, None  # the supervisor ended meanwhile
            if game and game != playing and self._at_start:
                await self._show(session, "input-gaming", "scx-gamer is on", "", _SERVER_S)
            if record is not None and self._at_end:
                text = summary.sentence(record)
                more = f"scx-gamer sessions show {record['id']}"
                await self._show(session, "input-gaming", "scx-gamer", f"{text}\n{more}", _SERVER_S)
            playing, last = game, newest
            await self._next_change(system, changed)

    async def _look(self, system: UserBus, last: int) -> tuple[int, int, dict[str, Any] | None]:
        """Return this user's game that the scheduler serves, the newest session, and its record if it is new."""
        owner = await system.owner(BUS_NAME)
        if not owner:
            return 0, -1, None
        attached = await self._value(system, owner, "State") == "attached"
        game = await self._value(system, owner, "ActiveGame")
        newest = await self._value(system, owner, "LastSession")
        mine = attached and game and is_ours(game)
        record = await self._record(system, owner, newest) if -1 < last < newest else None
        return game if mine else 0, newest, record

    @staticmethod
    async def _record(system: UserBus, owner: str, number: int) -> dict[str, Any] | None:
        """Return a record; None for one of another user."""
        try:
            answer = await system.call(owner, OBJECT_PATH, INTERFACE, "Session", "t", [number])
        except UserBusError as err:
            if err.name.startswith(ERROR_PREFIX):
                return None
            raise
        found = json.loads(answer)
        return found if isinstance(found, dict) else None
