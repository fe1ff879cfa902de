# SPDX-License-Identifier: GPL-2.0-or-later
"""top, status --watch and the overlay's line, of a real supervisor with a real scheduler."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.service.visibility import UNNAMED
from tests.screen import on_screen
from tests.vm.harness import start_supervisor, wait_until

MAIN = (sys.executable, "-m", "scx_gamer")
# Beside another guest, five minutes were too few for the first test.
pytestmark = pytest.mark.timeout(600)


def test_top_shows_a_game_and_what_it_gets() -> None:
    stats = Path("/proc/sys/kernel/bpf_stats_enabled")
    stats.write_text("1")
    game = subprocess.Popen(["bash", "-c", "while :; do :; done"])
    try:
        with start_supervisor(SupervisorOptions(mode="auto"), state="idle") as supervised:
            env = {**os.environ, "SCX_GAMER_RUNTIME_DIR": str(supervised.root / "run")}
            hud = supervised.root / "run/hud"
            assert hud.read_text() == "scx_gamer: idle\n"
            with on_screen((*MAIN, "top"), env) as screen:
                before = screen.modes()
                screen.wait(lambda text: " idle " in text, 180)  # rich is read from the host
                supervised.ask("game_add", pid=game.pid)
                busy = re.compile(r"^game +\d+ +(\d+)\.\d", re.MULTILINE)
                text = screen.wait(
                    lambda text: (m := busy.search(text)) is not None and int(m[1]) >= 20, 90
                )
                assert " attached " in text
                assert re.search(rf"^> +{game.pid} bash ", text, re.MULTILINE)
                screen.wait(lambda text: re.search(r"cost +\w+ [\d.]+ us", text) is not None, 180)
                assert max(map(len, screen.lines)) <= 80
                screen.press("p")
                screen.wait(
                    lambda text: (
                        re.search(rf"^ +{game.pid} bash +\d+\.\d %", text, re.M) is not None
                    ),
                    120,
                )
                screen.press("q")
                assert screen.end(60) == 0
                assert screen.modes() == before
                assert screen.raw.endswith(b"\x1b[?1049l")
            # a busy guest switches the boosts off for a moment, so the two may be a moment apart

            def the_same() -> bool:
                line = subprocess.run(
                    [*MAIN, "status", "--mangohud"],
                    env=env,
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
                assert line.startswith("scx_gamer: attached  bash")
                return hud.read_text() == line.replace("bash", UNNAMED)  # everybody reads the file

            wait_until("the line of the overlay is that of status", the_same, 90)
    finally:
        game.kill()
        game.wait()
        stats.write_text("0")


def test_status_watch_follows_and_outlives_the_supervisor() -> None:
    with start_supervisor(SupervisorOptions(mode="auto"), state="idle") as supervised:
        env = {**os.environ, "SCX_GAMER_RUNTIME_DIR": str(supervised.root / "run")}
        with on_screen((*MAIN, "status", "--watch"), env, rows=60) as screen:
            screen.wait(lambda text: re.search(r"^state +idle ", text, re.M) is not None, 180)
            supervised.ask("stop")
            screen.wait(lambda text: re.search(r"^state +off ", text, re.M) is not None, 180)
            assert supervised.end() == 0
            screen.wait(lambda text: "not running" in text, 120)
            screen.press("\x03")
            assert screen.end(60) == 130
        wait_until("files gone", lambda: not (supervised.root / "run/hud").exists())
