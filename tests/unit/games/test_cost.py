# SPDX-License-Identifier: GPL-2.0-or-later
"""Growth of cost: operations counted, not timed. `python -m tests.detection_cost` prints the times."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from scx_gamer.games import lists
from scx_gamer.games.proc import Process
from scx_gamer.games.tracker import MAX_GAMES_OF_USER, Tracker
from tests.unit.games.trees import FakeProc, game_of

DATA = lists.load(Path(__file__).parents[3] / "profiles" / "detect.toml")


def machine(count: int, shape: str, order: int) -> FakeProc:
    """`count` processes in one chain, below one parent, or as launchers below each other; listed up- or downwards."""
    proc = FakeProc()
    for pid in range(1, count + 1):
        parent = pid - 1 if shape != "wide" else min(pid - 1, 1)
        exe = f"/opt/{pid}/lutris" if shape == "launchers" else "/home/u/run"
        proc.processes[pid] = Process(pid, parent, pid, exe[-6:], (exe,), exe, uid=1000)
    proc.processes = dict(sorted(proc.processes.items(), reverse=order < 0))
    return proc


@pytest.mark.parametrize("shape", ["chain", "wide", "launchers"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_look_reads_and_evaluates_each_process_once(shape: str, order: int) -> None:
    costs = []
    for count in (250, 500, 1000):
        proc = machine(count, shape, order)
        track = Tracker(proc, DATA)
        track.reconcile(0.0)
        assert len(track.tree) == count
        costs.append((track.steps / count, proc.reads / count))
        before = track.steps, proc.reads
        track.reconcile(30.0)
        asked = len(track.waits_to_draw())
        assert (track.steps - before[0], proc.reads - before[1]) <= (asked, 0)
    assert max(costs) <= (2.0, 1.0), costs


@pytest.mark.parametrize("members", [10, 1000])
def test_a_child_of_a_game_costs_the_same_whatever_the_games_size(members: int) -> None:
    proc, one = game_of(members)
    track = Tracker(proc, DATA)
    track.reconcile(0.0)
    assert len(track.games[0].members) == members + 1
    before = track.steps, proc.reads
    proc.processes[9000] = replace(one, pid=9000, ppid=4, start_ticks=9000)
    track.fork_seen(4, 9000, 9000)
    assert track.classes[9000].class_name == "GAME" and (track.steps, proc.reads) == before
    track.exec_seen(9000)
    track.update(1.0)
    assert (track.steps - before[0], proc.reads - before[1]) == (1, 1)


def few_steps(track: Tracker, before: int) -> bool:
    return track.steps - before < 10


def test_work_is_done_in_pieces_and_nothing_is_lost() -> None:
    proc = machine(300, "chain", -1)
    proc.processes[301] = Process(
        301, 1, 301, "reaper", ("reaper", "SteamLaunch", "AppId=7"), "/s/reaper"
    )
    proc.processes[302] = Process(302, 301, 302, "game", ("/g/game",), "/g/game")
    track = Tracker(proc, DATA)
    for pid in proc.pids():
        track.exec_seen(pid)
    pieces = 0
    while track.has_work:
        before = track.steps
        track.update(1.0, partial(few_steps, track, before))
        pieces += 1
    assert pieces > 20 and [g.main.pid for g in track.games] == [302]


def test_games_of_one_user_are_capped_and_that_is_told() -> None:
    proc = FakeProc()
    for pid in range(10, 10 + 2 * (MAX_GAMES_OF_USER + 5), 2):
        words = ("reaper", "SteamLaunch", f"AppId={pid}")
        proc.processes[pid] = Process(pid, 1, pid, "reaper", words, "/s/reaper", uid=1000)
        proc.processes[pid + 1] = Process(pid + 1, pid, pid, "g", ("/g/g",), "/g/g", uid=1000)
    proc.processes[900] = Process(
        900, 1, 900, "reaper", ("reaper", "SteamLaunch", "AppId=1"), "/s/reaper", uid=1001
    )
    proc.processes[901] = Process(901, 900, 901, "g", ("/g/g",), "/g/g", uid=1001)
    track = Tracker(proc, DATA)
    track.reconcile(0.0)
    owners = [g.decision.root.uid for g in track.games]
    assert owners.count(1000) == MAX_GAMES_OF_USER and owners.count(1001) == 1
    assert f"{MAX_GAMES_OF_USER} games of user 1000 run" in track.refused


def test_users_without_a_seat_have_no_games_unless_somebody_says_so() -> None:
    proc = FakeProc("3 /s/reaper reaper SteamLaunch AppId=440 -- /g/run\n  4 /g/run")
    track = Tracker(proc, DATA)
    track.may_play = lambda uid: uid != 1000
    track.reconcile(0.0)
    assert track.games == [] and not track.classes
    assert track.add_explicit(4, "games add")
    track.update(1.0)
    assert track.classes[4].class_name == "GAME"
