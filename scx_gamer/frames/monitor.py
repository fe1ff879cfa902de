# SPDX-License-Identifier: GPL-2.0-or-later
"""The frames of the game that runs, by the best source that is there."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from scx_gamer.frames.flips import FlipSource
from scx_gamer.frames.mangohud import MangoHudSource
from scx_gamer.frames.model import Frame, FrameError, FrameGame, FrameSource
from scx_gamer.frames.sleeps import SleepSource, Threads
from scx_gamer.frames.stats import FrameStats

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import SourceFacts

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0  # for a better source than the one in use
LOOK_SOON_S = 2.0  # for any source
RECENT = 10  # reads that `recent` covers
_MIN_FRAMES = 60  # from which on the median tells the target

Listener = Callable[[str, list[Frame]], None]


def sources(threads: Threads) -> list[FrameSource]:
    """Return every source, the best first."""
    return [MangoHudSource(), SleepSource(threads), FlipSource()]


def best_source(
    candidates: Sequence[FrameSource], game: FrameGame
) -> tuple[FrameSource | None, dict[str, str]]:
    """Open the first source that is available for a game; return it, and why each before it is not."""
    why: dict[str, str] = {}
    for source in candidates:
        try:
            source.open(game)
        except FrameError as err:
            why[source.name] = str(err)
        else:
            return source, why
    return None, why


class FrameMonitor:
    """Frames of one game at a time, read when tick() is called, about once a second."""

    def __init__(self, candidates: Sequence[FrameSource]) -> None:
        self._candidates = candidates
        self._game: FrameGame | None = None
        self._listeners: list[Listener] = []
        self._look_at_s = 0.0
        self._by_source: dict[str, FrameStats] = {}
        self._recent: deque[FrameStats] = deque(maxlen=RECENT)
        self.source: FrameSource | None = None
        self.why: dict[str, str] = {}  # source → why it is not used

    def follow(self, game: FrameGame) -> None:
        """Follow a game from the next tick on; statistics begin anew with another main process."""
        if self._game is None or game.pid != self._game.pid:
            self._drop()
            self._by_source.clear()
            self._recent.clear()
            self._look_at_s = 0.0
        self._game = game

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with the source's name and the frames of each read; return the end of that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tick(self) -> None:
        """Read what is new, and look for a better source now and then."""
        now_s = time.monotonic()
        if self._game is not None and now_s >= self._look_at_s:
            self._look(self._game)
            self._look_at_s = now_s + (LOOK_EVERY_S if self.source is not None else LOOK_SOON_S)
        source = self.source
        if source is None:
            return
        try:
            frames = source.read()
        except FrameError as err:
            log.info("frames are no longer of %s: %s", source.name, err)
            self._drop()
            self.why[source.name] = str(err)
            return
        seen = FrameStats()
        seen.add(frames)
        self._recent.append(seen)
        self.stats.merge(seen)
        for listener in tuple(self._listeners):
            listener(source.name, frames)

    def _look(self, game: FrameGame) -> None:
        candidates = list(self._candidates)
        if self.source is not None:
            candidates = candidates[: candidates.index(self.source)]
        found, self.why = best_source(candidates, game)
        if found is not None:
            log.info("frames are of %s: %s", found.name, found.tells)
            self._drop()
            self.source = found

    def _drop(self) -> None:
        source, self.source = self.source, None
        self._recent.clear()
        if source is not None:
            source.close()

    @property
    def stats(self) -> FrameStats:
        """Statistics of the game's frames by the source in use, since the game began."""
        name = self.source.name if self.source is not None else ""
        return self._by_source.setdefault(name, FrameStats())

    @property
    def recent(self) -> FrameStats:
        """Statistics of the last RECENT reads."""
        found = FrameStats()
        for part in self._recent:
            found.merge(part)
        return found

    @property
    def target_ns(self) -> int:
        """The frame time that a missed frame is counted against: the median; 0 while it is unknown."""
        return self.stats.quantile_ns(0.5) if self.stats.count >= _MIN_FRAMES else 0

    def status(self) -> SourceFacts:
        """Return `frames` of `status --json`."""
        source, stats, recent, target_ns = self.source, self.stats, self.recent, self.target_ns
        return {
            "source": source.name if source is not None else "",
            "tells": source.tells if source is not None else "",
            "cannot_tell": source.cannot_tell if source is not None else "",
            "why": dict(self.why),
            "count": stats.count,
            "missed": stats.missed(target_ns) if target_ns else 0,
            "target_ms": round(target_ns / 1e6, 3),
            "fps": round(stats.mean_fps, 1),
            "low1_fps": round(stats.low_fps(), 1),
            "low01_fps": round(stats.low_fps(0.001), 1),
            "p99_ms": round(stats.quantile_ns(0.99) / 1e6, 3),
            "longest_ms": round(stats.longest_ns / 1e6, 3),
            "recent_fps": round(recent.mean_fps, 1),
            "recent_p99_ms": round(recent.quantile_ns(0.99) / 1e6, 3),
        }

    def close(self) -> None:
        """End with the game."""
        self._drop()
        self._game = None
