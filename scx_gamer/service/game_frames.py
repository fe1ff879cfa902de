# SPDX-License-Identifier: GPL-2.0-or-later
"""The frames of the game that runs, and its GPU. Nothing of scx_gamer.frames is imported or read before one does."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from scx_gamer.games.detector import GameDetector
from scx_gamer.system.loop import NO_TIMER, Loop

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import FrameBuckets, FrameFacts, GpuFacts
    from scx_gamer.frames.gpu import GpuMeter, GpuWork
    from scx_gamer.frames.monitor import FrameMonitor, Listener
    from scx_gamer.observe.observer import Observer

READ_EVERY_S = 1.0
RECENT = 10  # readings of the GPU that the status covers


class GameFrames:
    """Owner of a FrameMonitor while a game runs, and of a GpuMeter where there is one."""

    def __init__(self, loop: Loop, games: GameDetector, observe: Observer) -> None:
        self._loop, self._games, self._observe = loop, games, observe
        self._gpu: GpuMeter | None = None
        self._gpu_why = ""  # it is None
        self._works: deque[GpuWork] = deque(maxlen=RECENT + 1)
        self._timer = NO_TIMER
        self._listeners: list[Listener] = []
        self.monitor: FrameMonitor | None = None

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with the source's name and the frames of each read, of every game from now on."""
        self._listeners.append(listener)

    def games_changed(self) -> None:
        """Begin to read frames if a game runs."""
        if not self._timer.pending and self._games.tracker.games:
            self._timer = self._loop.call_later(READ_EVERY_S, self._tick, name="frames")

    def _tick(self) -> None:
        tracker = self._games.tracker
        game = tracker.active
        if game is None or not tracker.games:  # the active one may have ended a moment ago
            self.close()
            return
        from scx_gamer.frames.model import FrameGame
        from scx_gamer.frames.monitor import FrameMonitor, sources

        if self.monitor is None:
            self._open_gpu()
            self.monitor = FrameMonitor(sources(self._games.threads))
            for listener in self._listeners:
                self.monitor.subscribe(listener)
        members = frozenset(pid for pid, _ in game.members)
        self.monitor.follow(FrameGame(game.main.pid, game.main.uid, members))
        self.monitor.tick()
        if self._gpu is not None:
            self._works.append(self._gpu.read())
        self.games_changed()

    def _open_gpu(self) -> None:
        from scx_gamer.frames.gpu import GpuMeter
        from scx_gamer.frames.model import FrameError

        self._works.clear()
        try:
            self._gpu, self._gpu_why = GpuMeter(self._observe), ""
        except FrameError as err:
            self._gpu_why = str(err)

    def gpu_work(self) -> GpuWork | None:
        """Return the work of the GPU since a game began, up to the last second of it; None where nothing tells."""
        return self._works[-1] if self._works else None

    def status(self) -> FrameFacts | None:
        """Return `frames` of the status; None without a game."""
        if self.monitor is None:
            return None
        return {**self.monitor.status(), "gpu": self._gpu_status()}

    def _gpu_status(self) -> GpuFacts:
        if not self._works:
            return {"why": self._gpu_why, "busy": 0.0, "jobs": 0}
        recent = self._works[-1].since(self._works[0])
        return {"why": "", "busy": round(recent.busy, 3), "jobs": recent.jobs}

    def buckets(self) -> FrameBuckets | None:
        """Return the histogram for the metrics; None while no source tells of frames."""
        monitor = self.monitor
        if monitor is None or monitor.source is None:
            return None
        return monitor.stats.cumulative(monitor.source.name)

    def close(self) -> None:
        """End with the game."""
        self._timer.cancel()
        monitor, self.monitor = self.monitor, None
        if monitor is not None:
            monitor.close()
        gpu, self._gpu = self._gpu, None
        if gpu is not None:
            gpu.close()
