# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/top.svg: `top` beside a real supervisor, a game-like load, a mouse and two hogs a CPU, in virtual time.

tests/vm/run --lockstep -- build/venv/bin/python -m tests.vm.top.picture >docs/top.svg
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from itertools import groupby
from xml.sax.saxutils import escape

import pyte

from scx_gamer.bench.cells import Spec
from scx_gamer.bench.workload import Workload, calibrate, start_mouse
from scx_gamer.config.options import SupervisorOptions
from tests.screen import on_screen
from tests.vm.harness import start_supervisor

_TOP = (sys.executable, "-m", "scx_gamer", "top")

_W, _H, _PAD = 8.4, 17, 10
_COLORS = {
    "default": "#d0d0d0", "black": "#606060", "red": "#ff6b6b", "green": "#7ddc8a", "brown": "#e8c268",
    "blue": "#7aa8ff", "magenta": "#d79bff", "cyan": "#6fd3e0", "white": "#ffffff",
}  # fmt: skip


def svg(screen: pyte.Screen) -> str:
    """One text element for each run of equal colour and weight."""
    rows = []
    for y in range(screen.lines):
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
    width, height = screen.columns * _W + 2 * _PAD, screen.lines * _H + 2 * _PAD
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        ' font-family="monospace" font-size="14">'
        f'<rect width="100%" height="100%" rx="6" fill="#1b1d23"/>{"".join(rows)}</svg>\n'
    )


def picture() -> str:
    """Return what a player sees once the screen shows some seconds of the game."""
    spec = Spec("few", "hogs", per_cpu=2, seconds=60, calibration=calibrate(0.5, busy=True))
    with ExitStack() as stack:
        supervised = stack.enter_context(
            start_supervisor(SupervisorOptions(mode="auto"), state="idle")
        )
        stack.enter_context(start_mouse(1000))
        game = stack.enter_context(Workload("game", *spec.game_args()))
        game.read_line()
        supervised.ask("game_add", pid=game.pid)
        supervised.wait_state("attached")
        stack.enter_context(Workload("load", *spec.load_args()))
        env = {**os.environ, "SCX_GAMER_RUNTIME_DIR": str(supervised.root / "run")}
        screen = stack.enter_context(on_screen(_TOP, env))
        screen.wait(lambda text: " attached " in text, 60)
        end = time.monotonic() + 10
        screen.wait(lambda _text: time.monotonic() > end, 60)
        return svg(screen.screen)


if __name__ == "__main__":
    print(picture(), end="")
