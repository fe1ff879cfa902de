# SPDX-License-Identifier: GPL-2.0-only
"""A marked game beside eight hogs a CPU: their turns take longer than the deadline that one hog alone has."""

from __future__ import annotations

from scx_gamer.bench.cells import Cell
from scx_gamer.bench.goals import checks
from scx_gamer.bench.matrix import CONTENDERS, OURS, run_matrix, show
from scx_gamer.bench.workload import calibrate

PROMISED = {"frames on time", "frame p99, us", "1 % low, fps", "audio underruns"}


def test_eight_hogs_a_cpu_cost_no_frame() -> None:
    rate = calibrate()
    cells: list[Cell] = []
    for load, name in (("none", "default"), ("hogs-8", OURS)):
        cells += run_matrix(
            [load], ["few"], [CONTENDERS[name]], pairs=1, seconds=2, calibration=rate
        )
        print(f"MEASURED {show(cells[-1])}")
    held_to = [check for check in checks(cells) if check.what in PROMISED]
    assert {check.what for check in held_to} == PROMISED
    assert not [str(check) for check in held_to if not check.ok]
