# SPDX-License-Identifier: GPL-2.0-or-later
"""The frames of the game that runs. Nothing of scx_gamer.frames is imported, and nothing is read, before one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_gamer.games.detector import GameDetector
from scx_gamer.system.loop import Loop, Timer

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import FrameBuckets, FrameFacts
    from scx_gamer.frames.monitor import FrameMonitor, Listener

READ_EVERY_S = 1.0


class GameFrames:
    """Owner of a FrameMonitor while a game runs."""

    def __init__(self, loop: Loop, games: GameDetector) -> None:
        self._loop, self._games = loop, games
        self._timer: Timer | None = None
        self._listeners: list[Listener] = []
        self.monitor: FrameMonitor | None = None

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with the source's name and the frames of each read, of every game from now on."""
        self._listeners.append(listener)

    def games_changed(self) -> None:
        """Begin to read frames if a game runs."""
        if self._timer is None and self._games.tracker.games:
            self._timer = self._loop.call_later(READ_EVERY_S, self._tick, name="frames")

    def _tick(self) -> None:
        self._timer = None
        tracker = self._games.tracker
        game = tracker.active
        if game is None or not tracker.games:  # the active one may have ended a moment ago
            self.close()
            return
        from scx_gamer.frames.model import FrameGame
        from scx_gamer.frames.monitor import FrameMonitor, sources

        if self.monitor is None:
            self.monitor = FrameMonitor(sources(self._games.threads))
            for listener in self._listeners:
                self.monitor.subscribe(listener)
        members = frozenset(pid for pid, _ in game.members)
        self.monitor.follow(FrameGame(game.main.pid, game.main.uid, members))
        self.monitor.tick()
        self.games_changed()

    def status(self) -> FrameFacts | None:
        """Return `frames` of the status; None without a game."""
        return self.monitor.status() if self.monitor is not None else None

    def buckets(self) -> FrameBuckets | None:
        """Return the histogram for the metrics; None while no source tells of frames."""
        monitor = self.monitor
        if monitor is None or monitor.source is None:
            return None
        return monitor.stats.cumulative(monitor.source.name)

    def close(self) -> None:
        """End with the game."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        monitor, self.monitor = self.monitor, None
        if monitor is not None:
            monitor.close()
