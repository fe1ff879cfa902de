# SPDX-License-Identifier: GPL-2.0-or-later
"""A session of a real game beside a real scheduler: recorded, cut by SIGKILL, and read by its own user alone."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.config.options import SupervisorOptions
from tests.vm.frames.programs import OVERLAID
from tests.vm.harness import Supervised, launch, open_tree, python_in, start_supervisor, wait_until

PLAYER, OTHER = 61234, 61235
EVERY_S = 1.0
OPTIONS = SupervisorOptions(mode="auto", input=False, session_every_s=EVERY_S)
CLI = "import sys; sys.path.insert(0, sys.argv.pop(1)); from scx_gamer.cli import main; sys.exit(main())"


@contextmanager
def game(sup: Supervised, folder: Path) -> Iterator[int]:
    """A game of the player's with MangoHud's log in `folder`; beside it `sh` for each CPU, `yes` in background.

    It tells of a frame each 20 ms, and that every fiftieth took three times as long.
    """
    os.chown(folder, PLAYER, PLAYER)
    log = folder / "game_2026-01-01_00-00-00.csv"
    processes = [
        subprocess.Popen(
            [os.path.realpath(sys.executable), "-S", "-c", OVERLAID, log, "20"],
            stdin=subprocess.DEVNULL,
            user=PLAYER,
            group=PLAYER,
            extra_groups=[],
            cwd="/",
        ),
        *(
            subprocess.Popen(["sh", "-c", "while :; do :; done"])
            for _ in range(os.cpu_count() or 1)
        ),
        subprocess.Popen(["nice", "-n", "15", "yes"], stdout=subprocess.DEVNULL),
    ]
    try:
        wait_until("the game", log.exists)
        sup.ask("game_add", pid=processes[0].pid)
        yield processes[0].pid
    finally:
        for process in processes:
            process.kill()
            process.wait(30)


def sessions(sup: Supervised) -> dict[str, Any]:
    found = sup.status()["sessions"]
    assert isinstance(found, dict)
    return found


def ask_as(uid: int, sup: Supervised, tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `scx-gamer sessions` as a user."""
    env = {**os.environ, "SCX_GAMER_RUNTIME_DIR": str(sup.root / "run")}
    env["SCX_GAMER_STATE_DIR"] = str(sup.root / "state")
    return subprocess.run(
        [python_in(tree), "-I", "-c", CLI, tree, "sessions", *words],
        capture_output=True, text=True, timeout=120, env=env, user=uid, group=uid, extra_groups=[], cwd="/",
    )  # fmt: skip


def test_a_session_is_recorded_cut_by_a_kill_and_its_users_own() -> None:
    with start_supervisor(OPTIONS, state="idle") as sup, open_tree() as tree:
        sup.root.chmod(0o755)
        path = sup.root / "state/sessions.db"
        logs = sup.root / "logs"
        logs.mkdir()
        with game(sup, logs) as pid:
            sup.wait_state("attached")
            wait_until("a record", lambda: sessions(sup)["running"] == 1, 60)
            [row] = sup.ask("sessions")
            played = row["duration_s"]

            def longer() -> Any:
                row = sup.ask("session", id=1)
                enough = (
                    row["frames"] and row["frames"]["count"] > 200 and len(row["timeline"]) >= 3
                )
                return row if enough and row["duration_s"] > played + 2 * EVERY_S else None

            row = wait_until("frames", longer, 60, 0.5)
            assert (row["state"], row["uid"]) == ("running", PLAYER)
            waits = row["waits"]["game"]
            assert waits["count"] > 20 and waits["longest_us"] > 0
            assert row["cpu_s"]["game"] > 0 and row["cpu_s"]["normal"] > row["cpu_s"]["game"]
            assert row["attached_s"] > 0 and row["boosts"] == 0
            frames = row["frames"]
            assert frames["source"] == "mangohud" and frames["missed"] == frames["count"] // 50
            assert frames["mean_fps"] == pytest.approx(1000 / 20.8, abs=0.3)
            assert frames["low_1_fps"] == pytest.approx(1000 / 60, abs=0.3)
            assert sum(sample["frames"] or 0 for sample in row["timeline"]) == frames["count"]
            assert [s["at_s"] for s in row["timeline"]] == sorted(
                s["at_s"] for s in row["timeline"]
            )
            # each wake-up finds every CPU at work, and there are more that compute than CPUs
            assert "sh" in {one["program"] for one in row["taken"]["programs"]}, row["taken"]
            [held] = [one for one in row["held"] if one["program"] == "yes"]
            assert held["waited_s"] > 0 and held["ran_s"] > 0
            assert any(sample["taken_by"] for sample in row["timeline"])
            assert any(sample["game_cpu"] for sample in row["timeline"])
            facts = sessions(sup)
            assert facts["write_errors"] == 0 and not facts["error"]
            print(
                f"\nMEASURED a write of a session took at most {facts['write_max_ms']:.1f} ms in this guest"
            )

            sup.process.send_signal(signal.SIGKILL)
            sup.process.wait(30)
            again = launch(OPTIONS, sup.root)
            try:
                again.wait_state("attached")  # the mark of the game outlives the supervisor
                cut = again.ask("session", id=1)
                # nothing but what came after the last write is lost
                assert cut["state"] == "cut" and cut["duration_s"] >= row["duration_s"]
                assert cut["waits"]["game"]["count"] >= waits["count"]
                assert cut["frames"]["count"] >= frames["count"]

                wait_until("a second session", lambda: sessions(again)["running"] == 1, 60)
                os.kill(pid, signal.SIGKILL)
                wait_until("its end", lambda: sessions(again)["recorded"] == 1, 60)
                rows = {row["id"]: row for row in again.ask("sessions")}
                assert {n: row["state"] for n, row in rows.items()} == {1: "cut", 2: "ended"}

                shown = ask_as(PLAYER, again, tree, "show", "2", "--json")
                assert shown.returncode == 0, shown.stderr
                assert json.loads(shown.stdout)["waits"] == rows[2]["waits"]
                refused = ask_as(OTHER, again, tree, "show", "2")
                assert refused.returncode == 1 and "no session 2 of yours" in refused.stderr
                assert ask_as(OTHER, again, tree, "list").stdout.startswith("no sessions yet")
                assert path.stat().st_mode & 0o777 == 0o600
                assert not Path(f"{path}-wal").exists()  # at rest nothing is open
            finally:
                code = again.end()
            assert code == 0, again.text()
        db = sqlite3.connect(path)
        try:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        finally:
            db.close()
