# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames are read while a game runs, and not a second longer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scx_gamer.frames.gpu import GpuWork
from scx_gamer.games.model import Game
from scx_gamer.games.proc import Process
from scx_gamer.games.rules import Decision
from scx_gamer.service.game_frames import READ_EVERY_S, RECENT, GameFrames
from scx_gamer.system.loop import Loop, Timer


class Later:
    """Timers of a loop whose time stands still."""

    def __init__(self) -> None:
        self.due: list[Timer] = []

    def call_later(self, delay_s: float, call: Callable[[], None], name: str) -> Any:
        assert delay_s == READ_EVERY_S and name == "frames"
        self.due.append(Timer(0, call, name))
        return self.due[-1]

    def second(self) -> None:
        (timer,) = self.pending()
        timer.cancel()
        timer.callback()

    def pending(self) -> list[Timer]:
        return [timer for timer in self.due if timer.pending]


def a_game(pid: int) -> Game:
    main = Process(pid, 1, 5, "doom", uid=1000)
    decision = cast(Decision, SimpleNamespace(root=main))
    return Game(decision, main, decision, members={(pid, 5), (pid + 1, 6)})


class Meter:
    """A GPU that had no job of the game for a minute, and has some for a quarter of the time now."""

    def __init__(self, open_meters: list[Meter]) -> None:
        self._open = open_meters
        self._open.append(self)
        self._seconds = 0

    def read(self) -> GpuWork:
        self._seconds += 1
        worked = max(0, self._seconds - 60)
        return GpuWork(5, 5 + self._seconds * 1000, worked * 250, worked * 3)

    def close(self) -> None:
        self._open.remove(self)


def test_the_work_of_the_gpu_is_that_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    meters: list[Meter] = []
    monkeypatch.setattr("scx_gamer.frames.gpu.GpuMeter", Meter)
    loop = Later()
    game = a_game(1 << 22)
    tracker = SimpleNamespace(games=[game], active=game)
    threads = SimpleNamespace(steady=list, asked=lambda: False)
    games = cast(Any, SimpleNamespace(tracker=tracker, threads=threads))
    frames = GameFrames(cast(Loop, loop), games, cast(Any, meters))
    assert frames.gpu_work() is None
    frames.games_changed()
    for _ in range(60 + 2 * RECENT):
        loop.second()
    status = frames.status()
    assert status and status["gpu"] == {"why": "", "busy": 0.25, "jobs": 3 * RECENT}
    assert len(meters) == 1
    frames.close()
    assert not meters
    work = frames.gpu_work()  # of a record that is written after the game
    assert work and work.jobs == 6 * RECENT
    frames.games_changed()
    loop.second()
    again = frames.gpu_work()
    assert again and again.jobs == 0
    status = frames.status()
    assert status and status["gpu"]["jobs"] == 0
    frames.close()


def test_the_frames_of_the_active_game_are_read_while_it_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("scx_gamer.frames.gpu._SCHEDULER", tmp_path / "none")
    loop = Later()
    tracker = SimpleNamespace(games=[], active=None)
    threads = SimpleNamespace(steady=list, asked=lambda: False)
    games = cast(Any, SimpleNamespace(tracker=tracker, threads=threads))
    frames = GameFrames(cast(Loop, loop), games, cast(Any, None))
    frames.games_changed()
    assert not loop.pending() and frames.status() is None and frames.buckets() is None
    tracker.active = a_game(1 << 22)
    tracker.games = [tracker.active]
    frames.games_changed()
    frames.games_changed()
    loop.second()
    status = frames.status()
    assert status and status["why"].keys() == {"mangohud", "scheduler", "flips"}
    why = "no driver uses the kernel's GPU scheduler"
    assert status["gpu"] == {"why": why, "busy": 0.0, "jobs": 0} and frames.gpu_work() is None
    loop.second()
    tracker.games = []  # it ended, and may come back: it is the active one for a while
    loop.second()
    assert not loop.pending() and frames.status() is None
    tracker.games = [tracker.active]
    frames.games_changed()
    frames.close()
    assert not loop.pending()
