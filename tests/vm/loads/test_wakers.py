# SPDX-License-Identifier: GPL-2.0-only
"""A marked game beside a load that wakes up as often as it does: nothing gets between its threads and a CPU.

Its threads wake up together, at the vsync. Of two on one CPU, one waits for the other's whole burst.
"""

from __future__ import annotations

from scx_gamer.bench.cells import Cell
from scx_gamer.bench.goals import checks
from scx_gamer.bench.matrix import CONTENDERS, OURS, run_matrix, show
from scx_gamer.bench.workload import calibrate

PROMISED = {"frames on time", "frame p99, us", "1 % low, fps", "audio underruns"}
LINK_US = 1000  # 99 of 100; the shortest burst of a worker is longer
INPUT_US = 100  # 999 of 1000


def test_no_thread_of_the_game_waits_for_another() -> None:
    rate = calibrate()
    cells: list[Cell] = []
    for load, name in (("none", "default"), ("messaging", OURS)):
        cells += run_matrix(
            [load], ["few"], [CONTENDERS[name]], pairs=1, seconds=2, calibration=rate
        )
        print(f"MEASURED {show(cells[-1])}")
    cell = cells[-1]
    print(f"MEASURED links' p99 {cell.links_p99_us}, input {cell.input_latency_us}")
    held_to = [check for check in checks(cells) if check.what in PROMISED]
    assert {check.what for check in held_to} == PROMISED
    assert not [str(check) for check in held_to if not check.ok]
    assert not {link: p99 for link, p99 in cell.links_p99_us.items() if p99 > LINK_US}
    assert cell.input_latency_us.p999 < INPUT_US
