# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties and signals on the bus, each change once."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from scx_gamer.scheduler.machine import State
from scx_gamer.service.resources import Resources
from scx_gamer.service.status import exit_facts
from scx_gamer.system.procfs import uids_of
from scx_gamer.system.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from scx_gamer.control.operations import Operation
    from scx_gamer.control.snapshot import GameFacts, ResourceFacts, StatusBody
    from scx_gamer.games.detector import GameDetector
    from scx_gamer.scheduler.exits import ExitRecord
    from scx_gamer.scheduler.machine import Machine
    from scx_gamer.service.active_profile import ActiveProfile
    from scx_gamer.service.sessions import Sessions
    from scx_gamer.service.visibility import Visibility
    from scx_gamer.system.loop import Loop


class BusSignals:
    """The service on the bus, and the values that it has published. The constructor raises BusError and ImportError."""

    def __init__(
        self,
        loop: Loop,
        machine: Machine,
        games: GameDetector,
        profile: ActiveProfile,
        sessions: Sessions,
        visibility: Visibility,
        held: tuple[Path, str],
    ) -> None:
        """`held`: the file of held properties of units, and the boot."""
        from scx_gamer.dbus.service import BusService

        self._machine, self._games, self._profile = machine, games, profile
        self._sessions, self._visibility = sessions, visibility
        self._signalled_games: dict[int, tuple[str, set[int]]] = {}  # name and owners
        self._signalled_exit: ExitRecord | None = None
        self._operations: dict[str, Operation] = {}
        self._service = BusService(
            loop, self._operations, self._properties, self._hold, profile.set_on_battery
        )
        self._resources = Resources(self._service, *held)

    def serve(self, operations: Mapping[str, Operation]) -> None:
        """Accept calls of `operations`; call it before the loop runs."""
        self._operations.update(operations)

    def close(self) -> None:
        self._service.close()
        self._resources.close()

    def counters(self) -> dict[str, object]:
        return self._service.counters()

    def hold_power(self, profile: str) -> None:
        """Hold a power profile while a game runs; empty for none."""
        self._service.power.want(profile, "a game runs")

    def hold_resources(self, settings: Mapping[str, int]) -> None:
        """Hold what [resources] asks for the games that run; empty for nothing."""
        self._resources.follow(settings, [int(str(g["main_pid"])) for g in self._games.listing()])

    def resources(self) -> ResourceFacts | None:
        return self._resources.status()

    def watch_power_source(self, wanted: bool) -> None:
        """Have the profile told whether the machine runs on battery."""
        self._service.source.watch(wanted)

    def power(self) -> dict[str, object]:
        source = self._service.source
        known = {"on_battery": source.on_battery, "source_why": source.why}
        return {**self._service.power.status(), **known}

    def _properties(self) -> dict[str, object]:
        """Return the properties without the rest of the status, because clients poll them."""
        from scx_gamer.dbus.service import properties_of

        facts: StatusBody = {
            "state": str(self._machine.state),
            "games": cast("list[GameFacts]", self._games.listing()),
            "last_exit": exit_facts(self._machine.last_exit),
        }
        return properties_of(facts, self._profile.name, self._sessions.last_ended())

    def _hold(self, profile: str, reason: str) -> None:
        self._profile.hold(profile, printable(reason, 80))

    def _audience(self, owners: set[int]) -> Callable[[int], bool] | None:
        """Return who is told of a game of `owners`; None for everybody."""
        if self._visibility.everybody:
            return None
        return lambda uid: owners == {uid} or self._visibility.sees_all(uid)

    def publish(self) -> None:
        """Signal the differences from the values published last."""
        service, machine = self._service, self._machine
        service.changed()
        names = {int(str(game["pid"])): str(game["comm"]) for game in self._games.listing()}
        before = self._signalled_games
        now = {pid: before.get(pid) or (name, uids_of(pid)) for pid, name in names.items()}
        self._signalled_games = now
        for pid in before.keys() - now.keys():
            service.game_stopped(pid, before[pid][0], self._audience(before[pid][1]))
        for pid in now.keys() - before.keys():
            service.game_started(pid, now[pid][0], self._audience(now[pid][1]))
        if machine.last_exit is not self._signalled_exit:
            self._signalled_exit = machine.last_exit
            if self._signalled_exit is not None:
                again = machine.state is State.BACKOFF
                exit_ = self._signalled_exit
                service.scheduler_exited(exit_.name, exit_.reason, again)
