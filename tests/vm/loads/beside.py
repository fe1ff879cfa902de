# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of a marked game beside a load, and the idle machine that it is held against."""

from __future__ import annotations

from functools import cache

from scx_gamer.bench.cells import Cell
from scx_gamer.bench.session import OURS
from scx_gamer.bench.workload import calibrate
from tests.vm.lockstep.goals import checks
from tests.vm.lockstep.matrix import CONTENDERS, run_matrix, show

PROMISED = {"frames on time", "frame p99, us", "1 % low, fps", "audio underruns"}


@cache
def _idle_machine() -> tuple[float, Cell]:
    """The calibration and the game without a load: one of each serves every load of this boot."""
    rate = calibrate()
    return rate, _run("none", "default", rate)


def _run(load: str, contender: str, rate: float) -> Cell:
    """The one cell of a matrix with one load and one contender."""
    (cell,) = run_matrix(
        [load], ["few"], [CONTENDERS[contender]], pairs=1, seconds=2, calibration=rate
    )
    print(f"MEASURED {show(cell)}")
    return cell


def keeps_its_frames_beside(load: str) -> Cell:
    """The game's cell, once what is promised of its frames and its sound was seen to hold."""
    rate, idle = _idle_machine()
    cell = _run(load, OURS, rate)
    held_to = [check for check in checks([idle, cell]) if check.what in PROMISED]
    assert {check.what for check in held_to} == PROMISED
    assert not [str(check) for check in held_to if not check.ok]
    return cell
