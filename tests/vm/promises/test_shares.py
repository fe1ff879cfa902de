# SPDX-License-Identifier: GPL-2.0-or-later
"""Nice values share out a CPU as by the kernel's default while no game runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.vm.attach.conftest import attach
from tests.vm.fairness.test_neighbours import beside_each_other

HOG = "while True: pass"
# For how many seconds, so that a turn more or less is half of the tenth that is allowed: nice 19 has one in 0.28 s.
SECONDS = {(0, 9): 2.0, (0, 19): 6.0, (-10, 0): 2.0}
SETTLE_S = 0.3


def ran_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def share_of_second(pids: list[int], nices: tuple[int, int]) -> float:
    """The second hog's share of what both ran, once they have these nice values."""
    for pid, nice in zip(pids, nices, strict=True):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    time.sleep(SETTLE_S)
    before = [ran_ns(pid) for pid in pids]
    time.sleep(SECONDS[nices])
    first, second = (ran_ns(pid) - then for pid, then in zip(pids, before, strict=True))
    return second / (first + second)


def test_hogs_share_by_their_nice_values() -> None:
    weight = {nices: 1 / (1 + 1.25 ** (nices[1] - nices[0])) for nices in SECONDS}
    with beside_each_other(HOG, HOG) as pids:
        default = {nices: share_of_second(pids, nices) for nices in SECONDS}
        with attach() as life:
            ours = {nices: share_of_second(pids, nices) for nices in SECONDS}
            life.control.set("game_active", 1)
            life.beat()
            equal = share_of_second(pids, (0, 9))
    for nices, share in ours.items():
        print(
            f"MEASURED nice {nices}: {share:.2%} for the second, by default {default[nices]:.2%},"
            f" by weight {weight[nices]:.2%}"
        )
    print(f"MEASURED nice (0, 9) while a game is active: {equal:.2%}")
    assert ours == pytest.approx(weight, rel=0.1)
    assert equal == pytest.approx(0.5, rel=0.1), "the order that it was"
