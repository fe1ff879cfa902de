# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of a marked game beside a load, and the idle machine that it is held against."""

from __future__ import annotations

from scx_gamer.bench.cells import Cell
from scx_gamer.bench.goals import checks
from scx_gamer.bench.matrix import CONTENDERS, OURS, run_matrix, show
from scx_gamer.bench.workload import calibrate

PROMISED = {"frames on time", "frame p99, us", "1 % low, fps", "audio underruns"}


def keeps_its_frames_beside(load: str) -> Cell:
    """The game's cell, once what is promised of its frames and its sound was seen to hold."""
    rate = calibrate()
    cells: list[Cell] = []
    for beside, name in (("none", "default"), (load, OURS)):
        cells += run_matrix(
            [beside], ["few"], [CONTENDERS[name]], pairs=1, seconds=2, calibration=rate
        )
        print(f"MEASURED {show(cells[-1])}")
    held_to = [check for check in checks(cells) if check.what in PROMISED]
    assert {check.what for check in held_to} == PROMISED
    assert not [str(check) for check in held_to if not check.ok]
    return cells[-1]
