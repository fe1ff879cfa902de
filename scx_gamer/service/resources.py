# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory and I/O beside the CPU: which properties of systemd's units the settings ask for while a game runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scx_gamer.system.procfs import cgroup_of

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import ResourceFacts
    from scx_gamer.dbus.service import BusService
    from scx_gamer.dbus.units import UnitHold

BACKGROUND = "system.slice"  # every service of the system, none of a user's session
_ALL = 100  # the weight that changes nothing


class Resources:
    """Holds properties by way of the bus. Nothing is imported before a setting, or a killed supervisor, asks for it."""

    def __init__(self, service: BusService, file: Path, boot: str) -> None:
        self._service, self._file, self._boot = service, file, boot
        self._hold: UnitHold | None = None
        self._memory_mb = 0
        self._why = ""
        if file.exists():
            self._open()

    def _open(self) -> UnitHold:
        if self._hold is None:
            from scx_gamer.dbus.units import UnitHold

            self._hold = UnitHold(self._file, self._boot)
            self._service.add_units(self._hold)
        return self._hold

    def follow(self, settings: Mapping[str, int], games: Sequence[int]) -> None:
        """Hold what `settings`, by key of [resources], ask for the processes `games`; without settings, nothing."""
        self._memory_mb = settings.get("memory_low_mb", 0)
        memory = self._memory_mb << 20
        weight = settings.get("background_io_weight", _ALL)
        self._why = ""
        if not memory and weight == _ALL:
            if self._hold is not None:
                self._hold.want({})
            return
        hold = self._open()
        if not games:
            return  # in its grace period: as it is
        from scx_gamer.dbus.units import IO_WEIGHT, MEMORY_LOW, units_of

        units = dict.fromkeys(u for pid in games for u in units_of(cgroup_of(pid) or ""))
        wanted = {(unit, MEMORY_LOW): memory for unit in units if memory}
        if memory and not units:
            self._why = "the game is in no unit of systemd"
        if weight != _ALL:
            if BACKGROUND in units:
                self._why = f"the game is in {BACKGROUND}"
            else:
                wanted[BACKGROUND, IO_WEIGHT] = weight
        hold.want(wanted)

    def status(self) -> ResourceFacts | None:
        """Return what is held; None where nothing ever was asked for."""
        if self._hold is None:
            return None
        return {
            "memory_low_mb": self._memory_mb,
            "held": self._hold.held(),
            "why": self._hold.why or self._why,
        }

    def close(self) -> None:
        """Give everything back, after the service has left the bus."""
        if self._hold is not None:
            self._hold.close()
