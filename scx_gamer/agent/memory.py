# SPDX-License-Identifier: GPL-2.0-or-later
"""Protection of a game's memory within its session: MemoryLow= of the units of the user's own systemd that it is in.

The supervisor protects the session from the rest of the machine; only the user's systemd can protect the game from the
rest of the session. What a killed agent held is in a file of the session, and the next agent gives it back.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scx_gamer.agent.bus_adapter import BusAdapter, is_ours
from scx_gamer.dbus import BUS_NAME, INTERFACE, OBJECT_PATH
from scx_gamer.dbus.endpoint import PROPERTIES
from scx_gamer.dbus.units import (
    MANAGER,
    MEMORY_LOW,
    SYSTEMD,
    SYSTEMD_PATH,
    HeldFile,
    Key,
    helps,
    is_gone,
    place_of,
    set_body,
    units_of,
)
from scx_gamer.dbus.userbus import UserBus, UserBusError
from scx_gamer.system.procfs import PROC, boot_id, cgroup_of
from scx_gamer.system.text import printable

log = logging.getLogger(__name__)

_MAX_MB = 1 << 20


def units_in_session(cgroup: str, uid: int) -> tuple[str, ...]:
    """Return the units of the user's own systemd that a cgroup is in, the outermost first."""
    _, manager, rest = cgroup.partition(f"/user@{uid}.service/")
    return units_of(rest) if manager else ()


class GameMemory(BusAdapter):
    """Holds what the supervisor's settings say for the units of a game of this user, as long as it runs."""

    name = "memory of games"

    def __init__(self, session: str, system: str, file: Path, proc: Path = PROC) -> None:
        super().__init__(session, system)
        self._file = HeldFile(file, boot_id())
        self._proc = proc
        self._refused: set[Key] = set()

    async def _follow(self, system: UserBus, session: UserBus) -> None:
        changed = await self._changes(system)
        await self._hold(session, {})  # of an agent that was killed
        try:
            while True:
                await self._hold(session, await self._wanted(system))
                await self._next_change(system, changed)
        finally:
            with suppress(UserBusError):  # the next agent does it
                await self._hold(session, {})

    async def _wanted(self, system: UserBus) -> dict[Key, int]:
        """Return the properties that a game of this user is to have; empty without one, or without a supervisor."""
        owner = await system.owner(BUS_NAME)
        if not owner:
            return {}
        try:
            if not await self._value(system, owner, "ActiveGame"):
                return {}
            answer = await system.call(owner, OBJECT_PATH, INTERFACE, "Query", "s", ["status"])
        except UserBusError:
            if await system.owner(BUS_NAME) == owner:
                raise
            return {}  # the supervisor ended meanwhile
        return wanted_of(json.loads(answer), self._proc)

    async def _hold(self, session: UserBus, wanted: Mapping[Key, int]) -> None:
        """Give back what is not wanted, then take what is."""
        rows = self._file.load()
        for key, (before, value) in tuple(rows.items()):
            if wanted.get(key) != value:
                await self._set(session, key, before)
                del rows[key]
                self._save(rows)
        self._refused &= wanted.keys()
        for key, value in wanted.items():
            if key in rows or key in self._refused:
                continue
            path, interface = place_of(key[0])
            asked = (path, PROPERTIES, "Get", "ss", [interface, key[1]])
            before = (await session.call(SYSTEMD, *asked)).value
            if helps(key[1], before, value) and self._save({**rows, key: (before, value)}):
                rows[key] = before, value
                if not await self._set(session, key, value):
                    del rows[key]
                    self._save(rows)
                    self._refused.add(key)

    async def _set(self, session: UserBus, key: Key, value: int) -> bool:
        """Return False where systemd refuses. Raises UserBusError where it does not answer."""
        body = set_body(key, value)
        try:
            await session.call(SYSTEMD, SYSTEMD_PATH, MANAGER, "SetUnitProperties", "sba(sv)", body)
        except UserBusError as err:
            if not err.name:
                raise
            if not is_gone(err.name):
                log.warning("%s=%d of %s: %s", key[1], value, key[0], printable(err.name))
            return False
        return True

    def _save(self, rows: dict[Key, tuple[int, int]]) -> bool:
        try:
            self._file.save(rows)
        except OSError as err:
            log.warning("the memory of games is not protected: %s", err)
            return False
        return True


def wanted_of(status: Any, proc: Path = PROC) -> dict[Key, int]:
    """Return the properties for the games of this user in a status; raises nothing for a status that is none."""
    facts = status if isinstance(status, dict) else {}
    resources, games = facts.get("resources"), facts.get("games")
    memory = resources.get("memory_low_mb") if isinstance(resources, dict) else 0
    if type(memory) is not int or not 0 < memory <= _MAX_MB or not isinstance(games, list):
        return {}
    found: dict[Key, int] = {}
    for game in games:
        pid = game.get("main_pid") if isinstance(game, dict) else 0
        if type(pid) is int and pid > 0 and is_ours(pid):
            for unit in units_in_session(cgroup_of(pid, proc) or "", os.getuid()):
                found[unit, MEMORY_LOW] = memory << 20
    return found
