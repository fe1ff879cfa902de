# SPDX-License-Identifier: GPL-2.0-or-later
"""Base of adapters that follow the supervisor on the system bus and act on the session's."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from scx_gamer.agent.model import AgentError, Report
from scx_gamer.dbus import BUS_NAME, INTERFACE, OBJECT_PATH
from scx_gamer.dbus.endpoint import PROPERTIES
from scx_gamer.dbus.userbus import UserBus, UserBusError

_GAP_S = 0.5  # between two queries, which bounds the cost of signals sent by other programs


class BusAdapter:
    """An adapter that reads the system bus, without starting the supervisor, and acts on the session's."""

    name = ""

    def __init__(self, session: str, system: str) -> None:
        self._session, self._system = session, system

    async def run(self, report: Report) -> None:
        try:
            async with UserBus(self._system) as system, UserBus(self._session) as session:
                await self._follow(system, session)
        except UserBusError as err:
            raise AgentError(f"{self.name}: {err}") from err

    async def _follow(self, system: UserBus, session: UserBus) -> None:
        """Act until cancelled."""
        raise NotImplementedError

    @staticmethod
    async def _changes(system: UserBus) -> asyncio.Event:
        """Return an event that is set whenever the supervisor's state may have changed.

        A signal only triggers a query, because any program can send one.
        """
        changed = asyncio.Event()
        await system.on_owner(BUS_NAME, lambda _owner: changed.set())
        await system.on_signals(BUS_NAME, PROPERTIES, lambda _member, _body: changed.set())
        return changed

    @staticmethod
    async def _next_change(system: UserBus, changed: asyncio.Event) -> None:
        """Wait until there is something to query."""
        await asyncio.sleep(_GAP_S)
        await system.wait(changed.wait())
        changed.clear()

    @staticmethod
    async def _value(system: UserBus, owner: str, name: str) -> Any:
        get = (OBJECT_PATH, PROPERTIES, "Get", "ss", [INTERFACE, name])
        return (await system.call(owner, *get)).value


def is_ours(pid: int) -> bool:
    """Return True for a process of this user."""
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.getuid()
    except OSError:
        return False
