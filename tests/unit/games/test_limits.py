# SPDX-License-Identifier: GPL-2.0-or-later
"""Text that users choose, as often as they like: what a status repeats of it is bounded."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from scx_gamer.games import lists as detect
from scx_gamer.games.explain import explain, listing
from scx_gamer.games.proc import MAX_TEXT_OF_USER, Process, ProcFs, Tree, parse_environ
from scx_gamer.games.tracker import MAX_GAMES, MAX_GAMES_OF_USER, Tracker
from scx_gamer.system.procfs import uids_of
from tests.processes import running
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


@pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of another user")
def test_what_an_ordinary_user_gains_at_most() -> None:
    """A name gives no class (`cp /bin/sleep /tmp/pipewire` gave CRITICAL), and the games of one user are bounded.

    Real processes beside a game of root's: the copy gets none, and of three times the number a third are games.
    """
    stranger, started = 65534, set[int]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)

        def run(path: Path, uid: int) -> int:
            who = {"user": uid, "group": uid, "extra_groups": []}
            process = stack.enter_context(running([path, "60"], cwd="/", **who))
            started.add(process.pid)
            return process.pid

        copy, game = folder / "pipewire", folder / "blobfrenzy"
        for path in (copy, game):
            shutil.copy("/bin/sleep", path)
            os.chown(path, stranger, stranger)
        tracker = Tracker(ProcFs(), DATA, {})
        assert tracker.add_explicit(run(Path("/bin/sleep"), 0), "a test")
        named = run(copy, stranger)
        for _ in range(3 * MAX_GAMES_OF_USER):
            tracker.add_hint(run(game, stranger), "exec")
        tracker.reconcile(0.0)
        assert named not in tracker.classes
        # whoever runs the tests may play meanwhile
        ours = [game.decision.root.pid in started for game in tracker.games]
        assert ours.count(True) == 1 + MAX_GAMES_OF_USER
        # the tests of the agent run a desktop as this user
        mine = {
            a.class_name for pid, a in tracker.classes.items()
            if pid in started and uids_of(pid) == {stranger}
        }  # fmt: skip
        assert mine == {"GAME"}


def test_the_text_of_one_user_is_bounded_and_costs_no_other_his_games() -> None:
    """Ten thousand processes with long command lines: what is kept of them, and of the next user's."""
    tree = Tree(())
    argv = tuple(f"{n:03}" for n in range(1000))
    for pid in range(1000, 11_000):
        tree.put(Process(pid, 1, pid, "x", argv, "/x", uid=1000))
    tree.put(Process(2, 1, 2, "game", ("game", "--fullscreen"), "/g/game", uid=1001))
    kept = sum(len(text) + 64 for process in tree for text in process.argv)
    assert len(tree) == 10_001
    assert kept < MAX_TEXT_OF_USER + 10_000 * 512
    mine = tree.get(2)
    assert mine is not None and mine.argv == ("game", "--fullscreen")
