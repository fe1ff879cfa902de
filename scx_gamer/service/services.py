# SPDX-License-Identifier: GPL-2.0-or-later
"""Handles to the supervisor's subsystems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scx_gamer.games.detector import GameDetector
    from scx_gamer.input.monitor import InputMonitor
    from scx_gamer.netlimit import TrafficLimiter
    from scx_gamer.observe.observer import Observer
    from scx_gamer.scheduler.attached import Generations
    from scx_gamer.scheduler.machine import Machine
    from scx_gamer.scheduler.store import StateStore
    from scx_gamer.service.active_profile import ActiveProfile
    from scx_gamer.service.bus_signals import BusSignals
    from scx_gamer.service.comparison import Comparison
    from scx_gamer.service.game_frames import GameFrames
    from scx_gamer.service.heartbeat import Heartbeat
    from scx_gamer.service.session_hints import Hints
    from scx_gamer.service.sessions import Sessions


@dataclass(frozen=True)
class Services:
    """Handles to the supervisor's subsystems. Only input and the bus may be unavailable."""

    store: StateStore
    machine: Machine
    observe: Observer
    generations: Generations
    profile: ActiveProfile
    watch: str  # "inotify", or why changes of files are not seen
    games: GameDetector
    frames: GameFrames
    network: TrafficLimiter
    hints: Hints
    comparison: Comparison
    heartbeat: Heartbeat
    sessions: Sessions
    input: InputMonitor | None
    input_error: str  # why input is None
    bus: BusSignals | None
