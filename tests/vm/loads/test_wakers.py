# SPDX-License-Identifier: GPL-2.0-only
"""A marked game beside loads that wake up as often as it does: nothing gets between its threads and a CPU.

Its threads wake up together, at the vsync. Two of them on one CPU, or one behind what that CPU found for itself at the
same moment, wait for hundreds of microseconds and more: then a link or the tail of the input tells.
"""

from __future__ import annotations

import pytest

from scx_gamer.bench.cells import Cell
from scx_gamer.bench.goals import checks
from scx_gamer.bench.matrix import CONTENDERS, OURS, run_matrix, show
from scx_gamer.bench.workload import calibrate

PROMISED = {"frames on time", "1 % low, fps", "audio underruns"}
LINK_US = 100
TAIL_US = 100  # input, 999 of 1000


@pytest.fixture(scope="module")
def idle() -> Cell:
    (cell,) = run_matrix(
        ["none"], ["few"], [CONTENDERS["default"]], pairs=1, seconds=2, calibration=calibrate()
    )
    return cell


@pytest.mark.parametrize("load", ["messaging", "forkexec"])
def test_no_thread_of_the_game_waits_for_another(idle: Cell, load: str) -> None:
    (cell,) = run_matrix(
        [load], ["few"], [CONTENDERS[OURS]], pairs=1, seconds=2, calibration=calibrate()
    )
    print(f"MEASURED {show(cell)} {cell.links_p99_us} {cell.input_latency_us}")
    held_to = [check for check in checks([idle, cell]) if check.what in PROMISED]
    assert {check.what for check in held_to} >= PROMISED
    assert not [str(check) for check in held_to if not check.ok]
    assert not {link: p99 for link, p99 in cell.links_p99_us.items() if p99 > LINK_US}
    assert cell.input_latency_us.p999 < TAIL_US
