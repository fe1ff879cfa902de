# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor: the best source that is there, its end, statistics of one game, and no cost without one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from scx_gamer.control.snapshot import SourceFacts
from scx_gamer.frames.model import Frame, FrameError, FrameGame
from scx_gamer.frames.monitor import FrameMonitor
from tests.typed import mismatches

MS = 1_000_000
TREE = Path(__file__).parents[3]


class Source:
    """A source of sixty frames of one length a read."""

    tells, cannot_tell = "frames", "nothing"

    def __init__(self, name: str, ms: int, *, there: bool = True) -> None:
        self.name, self.ms, self.there, self.opened = name, ms, there, 0

    def open(self, game: FrameGame) -> None:
        if not self.there:
            raise FrameError(f"{self.name} is not there")
        self.opened += 1

    def read(self) -> list[Frame]:
        if not self.there:
            raise FrameError(f"{self.name} is gone")
        return [Frame(0, self.ms * MS)] * 60

    def close(self) -> None:
        self.opened -= 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def game(pid: int = 7) -> FrameGame:
    return FrameGame(pid, 1000, frozenset({pid}))


def seconds(monitor: FrameMonitor, clock: list[float], count: int) -> None:
    for _ in range(count):
        clock[0] += 1
        monitor.tick()


def test_the_best_source_serves_and_its_end_is_survived(clock: list[float]) -> None:
    best, always = Source("best", 10, there=False), Source("always", 20)
    monitor = FrameMonitor([best, always])
    heard: list[str] = []
    end = monitor.subscribe(lambda name, frames: heard.append(f"{name} {len(frames)}"))
    monitor.tick()
    assert monitor.source is None  # no game
    monitor.follow(game())
    seconds(monitor, clock, 3)
    assert monitor.status()["source"] == "always" and monitor.why == {"best": "best is not there"}
    assert monitor.stats.mean_fps == 50 and not best.opened
    best.there = True
    seconds(monitor, clock, 10)
    assert monitor.source is best and not always.opened  # no hook stays beside a better source
    assert monitor.stats.mean_fps == 100
    best.there = False
    seconds(monitor, clock, 1)
    assert monitor.source is None and "gone" in monitor.why["best"]
    seconds(monitor, clock, 12)
    assert monitor.source is always
    assert set(heard) == {"always 60", "best 60"}
    end()
    heard.clear()
    seconds(monitor, clock, 1)
    assert not heard
    monitor.close()
    assert best.opened == always.opened == 0


def test_statistics_are_of_one_game(clock: list[float]) -> None:
    source = Source("one", 10)
    monitor = FrameMonitor([source])
    monitor.follow(game())
    seconds(monitor, clock, 20)
    assert monitor.stats.count == 1200 and monitor.recent.count == 600
    assert monitor.status()["missed"] == 0
    monitor.follow(FrameGame(7, 1000, frozenset({7, 8})))
    seconds(monitor, clock, 1)
    assert monitor.stats.count == 1260 and source.opened == 1
    monitor.follow(game(9))
    seconds(monitor, clock, 1)
    assert monitor.stats.count == 60 and source.opened == 1


def test_status_has_its_schema(clock: list[float]) -> None:
    monitor = FrameMonitor([Source("one", 10)])
    assert not list(mismatches(monitor.status(), SourceFacts))
    monitor.follow(game())
    seconds(monitor, clock, 2)
    assert not list(mismatches(monitor.status(), SourceFacts))


def test_nothing_of_it_is_imported_before_a_game_runs() -> None:
    program = "import sys, scx_gamer.service.supervisor; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=TREE
    ).stdout.split()
    assert "scx_gamer.service.game_frames" in loaded
    assert not [name for name in loaded if name.startswith("scx_gamer.frames")]
