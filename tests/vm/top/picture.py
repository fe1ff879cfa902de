# SPDX-License-Identifier: GPL-2.0-or-later
"""The pictures of docs/: `top`, `status` and the page of a session, of a game-like load that hogs join.

tests/vm/run --lockstep --scratch build/pictures -- build/venv/bin/python -m tests.vm.top.picture
build/venv/bin/python -m tests.vm.top.picture build/pictures

The first command plays in virtual time and leaves what was seen; the second, on the host, makes the files of docs/ of
it, of the page as chromium shows it. The sentence of the notification is in build/pictures/notice.txt.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

import pyte

from scx_gamer.bench.cells import Spec
from scx_gamer.bench.workload import Workload, calibrate, find_workload, start_mouse
from scx_gamer.config.options import SupervisorOptions
from scx_gamer.sessions.record import ENDED
from scx_gamer.sessions.report import html
from scx_gamer.sessions.summary import sentence
from tests.screen import on_screen
from tests.vm.harness import Supervised, start_supervisor, wait_until

ALONE_S, TOP_S = 10, 10  # of the game: before the hogs, and beside them
PAGE = "session.html"
DOCS = Path(__file__).resolve().parents[3] / "docs"

_TOP = (sys.executable, "-m", "scx_gamer", "top")

_W, _H, _PAD = 8.4, 17, 10
_COLORS = {
    "default": "#d0d0d0", "black": "#606060", "red": "#ff6b6b", "green": "#7ddc8a", "brown": "#e8c268",
    "blue": "#7aa8ff", "magenta": "#d79bff", "cyan": "#6fd3e0", "white": "#ffffff",
}  # fmt: skip


def svg(screen: pyte.Screen) -> str:
    """One text element for each run of equal colour and weight; no empty lines below the last one."""
    rows = []
    lines = max(y for y, line in enumerate(screen.display) if line.strip()) + 1
    for y in range(lines):
        cells = [(x, screen.buffer[y][x]) for x in range(screen.columns)]
        for (color, bold, reverse), run in groupby(
            cells, key=lambda cell: (cell[1].fg, cell[1].bold, cell[1].reverse)
        ):
            part = list(run)
            text = "".join(cell.data for _x, cell in part)
            if not text.strip():
                continue
            fill = "#ffffff" if reverse else _COLORS.get(color, _COLORS["default"])
            weight = ' font-weight="bold"' if bold or reverse else ""
            rows.append(
                f'<text x="{_PAD + part[0][0] * _W:.1f}" y="{_PAD + (y + 1) * _H - 4}" fill="{fill}"{weight}'
                f' xml:space="preserve">{escape(text.rstrip())}</text>'
            )
    width, height = screen.columns * _W + 2 * _PAD, lines * _H + 2 * _PAD
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        ' font-family="monospace" font-size="14">'
        f'<rect width="100%" height="100%" rx="6" fill="#1b1d23"/>{"".join(rows)}</svg>\n'
    )


def seen(sup: Supervised, *words: str) -> str:
    """Return what a command prints on a terminal of 100 columns, as a picture."""
    env = {**os.environ, "SCX_GAMER_RUNTIME_DIR": str(sup.root / "run")}
    with on_screen((sys.executable, "-m", "scx_gamer", *words), env, 100, 24) as screen:
        screen.end(60)
        return svg(screen.screen)


def workload(program: Path, subcommand: str, *args: str | float) -> Workload:
    """Start a subcommand of the workload program under a name of its own."""
    os.environ["SCX_GAMER_WORKLOAD"] = str(shutil.copy(find_workload(), program))
    return Workload(subcommand, *args)


def play(folder: Path) -> None:
    """Play for some seconds alone and then beside hogs; leave in `folder` what a player sees."""
    spec = Spec("few", "hogs", per_cpu=2, seconds=120, calibration=calibrate(0.5, busy=True))
    options = SupervisorOptions(mode="auto", session_every_s=1)
    with ExitStack() as stack:
        supervised = stack.enter_context(start_supervisor(options, state="idle"))
        stack.enter_context(start_mouse(1000))
        log = supervised.root / "game.csv"
        with workload(
            supervised.root / "a-game", "game", *spec.game_args(), "--log", str(log)
        ) as game:
            game.read_line()
            supervised.ask("game_add", pid=game.pid)
            supervised.wait_state("attached")
            wait_until("a record", lambda: supervised.ask("sessions"))
            time.sleep(ALONE_S)
            stack.enter_context(workload(supervised.root / "busy-loop", "load", *spec.load_args()))
            env = {**os.environ, "SCX_GAMER_RUNTIME_DIR": str(supervised.root / "run")}
            with on_screen(_TOP, env) as screen:
                screen.wait(lambda text: " attached " in text, 60)
                end = time.monotonic() + TOP_S
                screen.wait(lambda _text: time.monotonic() > end, 60)
                (folder / "top.svg").write_text(svg(screen.screen))
            (folder / "status.svg").write_text(seen(supervised, "status"))
        wait_until("its end", lambda: supervised.ask("sessions")[0]["state"] == ENDED, 60, 0.5)
        record = supervised.ask("session", id=1)
    (folder / "session.json").write_text(json.dumps(record))
    (folder / "notice.txt").write_text(sentence(record) + "\n")
    (folder / PAGE).write_text(html(record))


def collect(folder: Path) -> None:
    """Make the files of docs/."""
    for name in ("top.svg", "status.svg"):
        shutil.copyfile(folder / name, DOCS / name)
    subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--window-size=1000,1180", f"--user-data-dir={folder / 'browser'}",
            f"--screenshot={DOCS / 'session.png'}", (folder / PAGE).absolute().as_uri(),
        ],
        check=True, timeout=120,
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        collect(Path(sys.argv[1]).absolute())
    else:
        play(Path(os.environ["SCX_GAMER_SCRATCH"]))
