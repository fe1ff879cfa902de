# SPDX-License-Identifier: GPL-2.0-only
"""What the supervisor tells the bus: properties and signals, each change once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from scx_gamer.scheduler.machine import State
from scx_gamer.system.text import printable

if TYPE_CHECKING:
    from scx_gamer.control.server import Operation
    from scx_gamer.scheduler.exits import ExitRecord
    from scx_gamer.service.services import Rooms
    from scx_gamer.system.loop import Loop


class BusLink:
    """The service on the bus, and what it was told last. Raises BusError and ImportError."""

    def __init__(
        self,
        loop: Loop,
        rooms: Rooms,
        operations: Mapping[str, Operation],
    ) -> None:
        from scx_gamer.dbus.service import BusService

        self._rooms = rooms
        self._told_games: dict[int, str] = {}
        self._told_exit: ExitRecord | None = None
        self._service = BusService(loop, operations, self._properties, self._held)

    def close(self) -> None:
        self._service.close()

    def counters(self) -> dict[str, object]:
        return self._service.counters()

    def _properties(self) -> dict[str, object]:
        """Not by way of the whole status, which reads a lot more: clients poll these."""
        from scx_gamer.dbus.service import properties_of

        rooms, machine = self._rooms, self._rooms.machine
        last = machine.last_exit if machine is not None else None
        facts = {
            "state": str(machine.state if machine is not None else State.IDLE),
            "games": rooms.listing(),
            "last_exit": last and {"name": last.name, "code": last.code, "reason": last.reason},
        }
        return properties_of(facts, rooms.tuning.name if rooms.tuning else "")

    def _held(self, profile: str, reason: str) -> None:
        if self._rooms.tuning is not None:
            self._rooms.tuning.hold(profile, printable(reason, 80))

    def tell(self) -> None:
        """Properties and signals: what differs from what was told last."""
        service, machine = self._service, self._rooms.machine
        service.changed()
        now = {int(str(game["pid"])): str(game["comm"]) for game in self._rooms.listing()}
        before, self._told_games = self._told_games, now
        for pid in before.keys() - now.keys():
            service.game_stopped(pid, before[pid])
        for pid in now.keys() - before.keys():
            service.game_started(pid, now[pid])
        if machine is not None and machine.last_exit is not self._told_exit:
            self._told_exit = machine.last_exit
            if self._told_exit is not None:
                again = machine.state is State.BACKOFF
                service.scheduler_exited(self._told_exit.name, self._told_exit.reason, again)
