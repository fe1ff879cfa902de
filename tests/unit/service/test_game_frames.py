# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames are read while a game runs, and not a second longer."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from scx_gamer.games.model import Game
from scx_gamer.games.proc import Process
from scx_gamer.games.rules import Decision
from scx_gamer.service.game_frames import READ_EVERY_S, GameFrames
from scx_gamer.system.loop import Loop


class Later:
    """Timers of a loop whose time stands still."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_later(self, delay_s: float, call: Callable[[], None], name: str) -> Any:
        assert delay_s == READ_EVERY_S and name == "frames"
        self.due.append(call)
        return SimpleNamespace(cancel=lambda: self.due.remove(call))

    def second(self) -> None:
        (call,) = self.due
        self.due.clear()
        call()


def a_game(pid: int) -> Game:
    main = Process(pid, 1, 5, "doom", uid=1000)
    decision = cast(Decision, SimpleNamespace(root=main))
    return Game(decision, main, decision, members={(pid, 5), (pid + 1, 6)})


def test_the_frames_of_the_active_game_are_read_while_it_runs() -> None:
    loop = Later()
    tracker = SimpleNamespace(games=[], active=None)
    threads = SimpleNamespace(steady=list, asked=lambda: False)
    games = cast(Any, SimpleNamespace(tracker=tracker, threads=threads))
    frames = GameFrames(cast(Loop, loop), games)
    frames.games_changed()
    assert not loop.due and frames.status() is None and frames.buckets() is None
    tracker.active = a_game(1 << 22)
    tracker.games = [tracker.active]
    frames.games_changed()
    frames.games_changed()
    loop.second()
    status = frames.status()
    assert status and status["why"].keys() == {"mangohud", "scheduler", "flips"}
    loop.second()
    tracker.games = []  # it ended, and may come back: it is the active one for a while
    loop.second()
    assert not loop.due and frames.status() is None
    tracker.games = [tracker.active]
    frames.games_changed()
    frames.close()
    assert not loop.due
