# SPDX-License-Identifier: GPL-2.0-only
"""What a supervisor has opened, for those who read several of its rooms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scx_gamer.games.detector import GamesRoom
    from scx_gamer.input.monitor import InputRoom
    from scx_gamer.netlimit import NetRoom
    from scx_gamer.observe.observer import Observe
    from scx_gamer.scheduler.machine import Machine
    from scx_gamer.service.active_profile import Tuning
    from scx_gamer.service.bus_signals import BusLink
    from scx_gamer.service.session_hints import Hints


@dataclass
class Rooms:
    """Each is None until it is open, and where it cannot be had."""

    observe: Observe | None = None
    tuning: Tuning | None = None
    games: GamesRoom | None = None
    input: InputRoom | None = None
    network: NetRoom | None = None
    hints: Hints | None = None
    bus: BusLink | None = None
    machine: Machine | None = None
    input_error: str = ""  # why there is no input
    watch: str = "inotify"  # or why files are not watched
    sleeps: int = 0  # suspends, and stops of this process

    def listing(self) -> list[dict[str, object]]:
        """The schema of `games list --json`."""
        return self.games.listing() if self.games is not None else []
