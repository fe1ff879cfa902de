# SPDX-License-Identifier: GPL-2.0-or-later
"""top: what it computes of two snapshots, and the view itself on a real pseudo terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.cli import topview
from scx_gamer.cli.topview import View
from tests.processes import running
from tests.screen import Screen, on_screen

TOP = Path(__file__).resolve().parents[3]
CLASSES = ("normal", "game", "critical", "background", "kthread")
BUCKETS = 32
LEAVE = b"\x1b[?1049l"

# The real server of the control socket, answering with a snapshot whose counters grow by the second.
SERVER = """
import json, os, sys, time
from pathlib import Path
from scx_gamer.control.operations import OPERATIONS, Operation
from scx_gamer.control.server import ControlServer
from scx_gamer.system.loop import Loop
from tests.unit.cli.test_top import snapshot
began = time.monotonic()
with Loop() as loop:
    answer = Operation(lambda *_: snapshot(time.monotonic() - began), OPERATIONS["snapshot"])
    server = ControlServer(loop, Path(sys.argv[1], "control.sock"), {"snapshot": answer})
    print("ready", flush=True)
    loop.run()
"""


def snapshot(seconds: float, **more: Any) -> Any:
    """After so many seconds: the game runs 250 %, its waits are 8 us but one in fifty is 2 ms."""
    hist = [[0] * BUCKETS for _ in CLASSES]
    hist[1][3], hist[1][11] = int(seconds * 980), int(seconds * 20)
    hist[3][16] = int(seconds * 50)
    per = {"run_ns": (1e8, 2.5e9, 1e7, 5e8, 0), "runs": (100, 1000, 50, 50, 0)}
    return {
        "schema": 1,
        "version": "0.1.0",
        "state": "attached",
        "cause": "a game runs \x1b[2J",
        "since_s": 75 + seconds,
        "mode": "auto",
        "generation": 7,
        "failures": 1,
        "kernel": {"release": "7.2.13", "sched_ext": "enabled", "loaded": "scx_gamer"},
        "games": [
            {"pid": 1, "comm": "first[red]", "reason": "named", "processes": 3},
            {"pid": os.getpid(), "comm": "second", "reason": "named", "processes": 1},
        ],
        "input": {"path": "kernel", "devices": 3, "why": ""},
        "loop": {"lag_last_ms": 0.2, "lag_max_ms": 3.0},
        "scheduler": {
            "nr_queued": 3,
            "oldest_wait_ns": 1_200_000,
            "oldest_wait_max_ns": 15_000_000,
            "effects": 1,
            "tasks": dict(zip(CLASSES, (200, 12, 3, 40, 9), strict=True)),
        },
        "cpu_stats": {
            **{name: [int(seconds * x) for x in rate] for name, rate in per.items()},
            "preempt_kicks": [0, int(seconds * 40), 0, 0, 0],
            "wait_max_ns": [0, 2_000_000, 20_000, 60_000_000, 0],
            "game_home_ns": [int(seconds * 2.45e9)],
            "game_away_ns": [int(seconds * 0.05e9)],
            "shield_ns": [int(seconds * 0.5e9)],
            "shield_kicks": [int(seconds * 60)],
            "wait_hist": [count for counts in hist for count in counts],
        },
        "frames": {
            "source": "scheduler",
            "count": int(seconds * 60),
            "low1_fps": 48.0,
            "p99_ms": 20.1,
            "recent_fps": 60.0 - 20 * (int(seconds) % 2),
            "recent_p99_ms": 21.5,
        },
        "placement": {
            "home": "0-7",
            "why": "the die with 96 MB of cache",
            "home_s": seconds * 2.45,
            "away_s": seconds * 0.05,
            "moves": 0,
            "shield_s": 0.0,
            "shield_kicks": 0,
        },
        "recent_maxima": {"wait": [0, 2_000_000, 20_000, 60_000_000, 0]},
        "windows": {
            "mouse": {"events": [int(seconds * 990), 0], "opened": [int(seconds * 2)]},
            "keyboard": {"events": [0, 0], "opened": [0]},
        },
        "programs": {"scxg_enqueue": [int(seconds * 450_000), int(seconds * 1000)]},
        "counters": {"exits": {"stall": 1}, "restarts": 2},
        "last_exit": {"name": "stall", "reason": "runnable task stall"},
        **more,
    }


def lines(view: View | None = None, size: tuple[int, int] = (80, 24), **more: Any) -> list[str]:
    return topview.render(
        snapshot(3, **more), snapshot(1), 2.0, view or View(), CLASSES, [], size, color=False
    )


def test_rates_are_over_the_time_between_two_looks() -> None:
    rows = {r.name: r for r in topview.class_rows(snapshot(3), snapshot(1), CLASSES, 2.0)}
    game = rows["game"]
    assert game.cpu == pytest.approx(250)
    assert game.runs == pytest.approx(1000)
    assert (game.tasks, game.kicks) == (12, pytest.approx(40))
    assert (game.p50_us, game.p99_us) == (8, 2048)
    assert rows["background"].p50_us == 65536
    assert rows["kthread"].p50_us == 0
    assert topview.rates(snapshot(3), snapshot(1), 2.0)[0] == ("mouse", 990, 2)
    assert topview.costs(snapshot(3), snapshot(1)) == [("enqueue", 450, 2000)]


def test_a_restarted_supervisor_gives_no_negative_rate() -> None:
    for row in topview.class_rows(snapshot(1), snapshot(3), CLASSES, 2.0):
        assert row.cpu == row.runs == row.kicks == 0
    assert topview.costs(snapshot(1), snapshot(3)) == []


def test_everything_is_on_a_screen_of_80_by_24() -> None:
    shown = lines()
    assert len(shown) == 24
    assert max(map(len, shown)) <= 80
    text = "\n".join(shown)
    for piece in (
        "scx-gamer 0.1.0  attached 1 min  mode auto  generation 7  kernel 7.2.13",
        "a game runs \\x1b[2J",
        "mouse 990/s (2 windows/s)",
        "3 waiting, the oldest 1.2 ms (most 15 ms)",
        "250.0",
        "<8 us",
        "2 ms",
        "enqueue 0.45 us",
        "stall 1  restarts 2  failures 1",
        "first[red]",
        "q quit",
    ):
        assert piece in text, f"{piece}\n{text}"


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (80, 24), (200, 60)])
def test_no_line_leaves_the_screen(size: tuple[int, int]) -> None:
    shown = lines(size=size)
    assert len(shown) == size[1]
    assert max(map(len, shown)) <= size[0]


def test_a_narrow_screen_leaves_columns_out_and_cuts_none() -> None:
    shown = lines(size=(40, 24))
    begin = next(n for n, line in enumerate(shown) if line.startswith("CLASS"))
    table = shown[begin : begin + 6]
    assert "RUNS" not in table[0] and not any("…" in line for line in table)
    assert re.fullmatch(r"background +50\.0 +60 ms +60 ms *", table[4])
    assert re.fullmatch(r"game +250\.0 +2 ms +2 ms *", table[2])


def test_bars_show_the_newest_updates() -> None:
    history = topview.History()
    assert topview.bars(history.fps, 10) == "" and topview.bars([1, 2, 4, 8], 2) == "▅█"
    for second in range(1, 200):
        history.add(snapshot(second + 1), snapshot(second), CLASSES, 1.0)
    assert len(history.fps) == len(history.waits) == 120
    assert topview.bars(history.fps, 4) == "▆█▆█"
    assert topview.bars(history.waits, 3) == "███" and topview.bars(history.waits, 0) == ""
    for width in (40, 80, 200):
        shown = topview.render(
            snapshot(3), snapshot(1), 2.0, View(), CLASSES, [], (width, 50), color=False, history=history
        )  # fmt: skip
        assert max(map(len, shown)) <= width
        assert (shown[5].startswith("frames") and "▆█" in shown[5]) is (width > 60)


def test_help_says_what_the_columns_are_and_goes_again() -> None:
    view = View()
    assert view.press("?", []) and "KICKS/s  times" in "\n".join(lines(view))
    assert view.press("?", []) and "KICKS/s  times" not in "\n".join(lines(view))


@pytest.mark.parametrize(
    "gone", ["scheduler", "cpu_stats", "windows", "programs", "counters", "input", "loop", "frames"]
)
def test_a_supervisor_that_is_starting_is_shown_too(gone: str) -> None:
    more: dict[str, Any] = {gone: None}
    assert len(lines(**more)) == 24


def order(view: View) -> list[str]:
    rows = topview.class_rows(snapshot(3), snapshot(1), CLASSES, 2.0)
    return [row.name for row in topview.ordered(rows, view)]


def test_keys_sort_and_reverse() -> None:
    view = View()
    assert order(view) == list(CLASSES)
    assert view.press("s", []) and view.sort == "cpu"
    assert order(view)[:2] == ["game", "background"]
    assert view.press("s", []) and order(view)[0] == "background"  # by p99
    assert view.press("s", []) and order(view)[0] == "normal"  # by tasks
    assert view.press("r", []) and order(view)[0] == "critical"
    assert not view.press("q", [])


def test_pinning_takes_the_chosen_game_to_the_top() -> None:
    games = snapshot(1)["games"]
    view = View()
    view.press("down", games)
    view.press("p", games)
    assert view.pinned == games[1]["pid"]
    assert view.order(games)[0] is games[1]
    assert view.chosen == 0
    view.press("p", games)
    assert view.pinned is None
    for _ in range(5):
        view.press("down", games)
    assert view.chosen == 1


def test_threads_of_a_process() -> None:
    threads = topview.Threads()
    threads.sample(os.getpid(), 0)
    until = time.process_time() + 0.3
    began = time.monotonic()
    while time.process_time() < until:
        pass
    wall = time.monotonic() - began
    rows = threads.sample(os.getpid(), wall)
    assert rows[0][1] == os.getpid()
    assert rows[0][2] > 50 * 0.3 / wall  # half of what was used, however busy the machine
    assert threads.sample(2**22, 1) == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A control socket that answers, in a process of its own; the environment to reach it."""
    env = {**os.environ, "SCX_GAMER_RUNTIME_DIR": str(tmp_path)}
    with running(
        [sys.executable, "-c", SERVER, str(tmp_path)], cwd=TOP, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        env["SERVER_PID"] = str(process.pid)
        yield env


ARGV = (sys.executable, "-m", "scx_gamer", "top", "--delay", "0.2")


def started(screen: Screen) -> None:
    screen.wait(lambda text: "q quit" in text and "game" in text)


def test_on_a_terminal_it_draws_and_leaves_it_as_it_was(server: dict[str, str]) -> None:
    with on_screen(ARGV, server) as screen:
        before = screen.modes()
        started(screen)
        text = screen.wait(lambda text: re.search(r"game +12 +2[0-9]{2}\.\d", text) is not None)
        assert re.search(r"mouse \d{3,4}/s", text)
        assert screen.modes() != before
        screen.press("s")
        screen.wait(lambda text: "CPU%v" in text)
        names = [n for line in screen.lines if (n := line.split(" ")[0]) in CLASSES]
        assert names[0] == "game"
        screen.press("\x1b[B")
        screen.wait(lambda text: re.search(r"^> +\d+ second", text, re.M) is not None)
        screen.press("p")
        screen.wait(lambda text: re.search(r"second +pinned", text) is not None)
        screen.press("q")
        assert screen.end() == 0
        assert screen.modes() == before
        assert screen.raw.count(LEAVE) == 1
        assert screen.raw.endswith(LEAVE)
        assert b"\x1b[?25h" in screen.raw


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_signals_give_the_terminal_back(
    server: dict[str, str], number: signal.Signals, status: int
) -> None:
    with on_screen(ARGV, server) as screen:
        before = screen.modes()
        started(screen)
        screen.process.send_signal(number)
        assert screen.end() == status
        assert screen.modes() == before
        assert screen.raw.endswith(LEAVE)


def stopped(pid: int) -> bool:
    """Whether it sleeps until SIGCONT: one that comes earlier is lost."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_again(
    server: dict[str, str],
) -> None:
    with on_screen(ARGV, server) as screen:
        before = screen.modes()
        started(screen)
        screen.process.send_signal(signal.SIGTSTP)
        deadline = time.monotonic() + 60
        while not screen.raw.endswith(LEAVE) or not stopped(screen.process.pid):
            assert time.monotonic() < deadline
            screen.read()
        assert screen.modes() == before
        screen.process.send_signal(signal.SIGCONT)
        drawn = len(screen.raw)
        while b"q quit" not in screen.raw[drawn:]:
            assert time.monotonic() < deadline
            screen.read()
        screen.press("q")
        assert screen.end() == 0
        assert screen.modes() == before


def test_another_size_is_used_at_once(server: dict[str, str]) -> None:
    with on_screen((*ARGV[:-1], "60"), server) as screen:
        started(screen)
        screen.resize(100, 30)
        screen.wait(lambda _text: screen.lines[-1].startswith("q quit"), 10)
        screen.press("q")
        screen.end()


def test_a_supervisor_that_goes_away_is_said(server: dict[str, str]) -> None:
    with on_screen(ARGV, server) as screen:
        started(screen)
        os.kill(int(server["SERVER_PID"]), signal.SIGKILL)
        screen.wait(lambda text: "not running: waiting for the supervisor" in text)
        screen.press("q")
        assert screen.end() == 0


def test_without_a_supervisor_or_a_terminal_it_is_one_line(
    server: dict[str, str], tmp_path: Path
) -> None:
    piped = subprocess.run(ARGV, env=server, capture_output=True, text=True, cwd=TOP, check=False)
    assert piped.returncode == 2
    assert len(piped.stderr.splitlines()) == 1
    nobody = {**server, "SCX_GAMER_RUNTIME_DIR": str(tmp_path / "absent")}
    with on_screen(ARGV, nobody) as screen:
        assert screen.end() == 3
        assert "not running" in screen.text
        assert LEAVE not in screen.raw


def test_where_the_game_runs_is_on_the_screen() -> None:
    place = next(line for line in lines(size=(120, 24)) if line.startswith("place"))
    assert "98.0% of the game on CPUs 0-7 (the die with 96 MB of cache)" in place
    assert "shield 0.50 CPUs free, 60 kicks/s" in place
    alike = {"home": "", "why": "all CPUs are alike"}
    assert "place  the game on any CPU (all CPUs are alike)" in "\n".join(lines(placement=alike))
