# SPDX-License-Identifier: GPL-2.0-only
"""Text that users choose, as often as they like: what a status repeats of it is bounded."""

from __future__ import annotations

import json
from pathlib import Path

from scx_gamer.games import lists as detect
from scx_gamer.games.explain import explain, listing
from scx_gamer.games.proc import Process, parse_environ
from scx_gamer.games.tracker import MAX_GAMES, Tracker
from tests.unit.games.trees import FakeProc

DATA = detect.load(Path(__file__).parents[3] / "profiles" / "detect.toml")
LONG = "\x01" * (64 << 10)  # JSON writes six characters for each


def test_long_names_in_many_games_make_a_short_listing() -> None:
    """64 games, each with 128 KB of GAMEID and program names of 64 KB: 151 MB of JSON without a limit."""
    proc = FakeProc()
    proc.processes[1] = Process(1, 0, 1, "init", ("init",), "/sbin/init")
    env = parse_environ(b"GAMEID=" + b"\x01" * (128 << 10))
    for pid in range(2, 2 + MAX_GAMES):
        argv = ("umu-run", f"{LONG}.exe")
        proc.processes[pid] = Process(
            pid, 1, pid, "umu-run", argv, "/usr/bin/umu-run", uid=pid % 8, env=env
        )
        named = (f"C:\\{LONG}.exe",)
        proc.processes[pid + 100] = Process(
            pid + 100, pid, pid, "game", named, "", uid=pid % 8, env=env
        )
    tracker = Tracker(proc, DATA, {})
    tracker.reconcile(0.0)
    tracker.reconcile(30.0)
    rows = listing(tracker, 31.0)
    assert len(rows) == MAX_GAMES
    assert len(json.dumps(rows)) < MAX_GAMES * 8192
    assert len(json.dumps(explain(tracker, 102, 31.0))) < 16_384


def test_a_long_line_of_ancestors_is_a_short_answer() -> None:
    proc = FakeProc()
    proc.processes[1] = Process(1, 0, 1, "init", ("init",), "/sbin/init")
    for pid in range(2, 5002):
        proc.processes[pid] = Process(pid, pid - 1, pid, "sh", ("sh",), "/bin/sh")
    tracker = Tracker(proc, DATA, {})
    tracker.reconcile(0.0)
    assert len(json.dumps(explain(tracker, 5001, 1.0))) < 16_384
