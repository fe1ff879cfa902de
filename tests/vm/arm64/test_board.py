# SPDX-License-Identifier: GPL-2.0-or-later
"""An arm64 board with big and little cores: the kernel's capacities make the home, and a game runs there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scx_gamer.scheduler import topology
from tests.processes import running
from tests.vm.harness import Supervised, start_supervisor, wait_until
from tests.vm.vmlib.foreign import BIG, capacities

CPUS = os.cpu_count() or 1
BIG_CORES = [number for number, capacity in enumerate(capacities(CPUS)) if capacity == BIG]


def placement(sup: Supervised) -> dict[str, float]:
    found = sup.status()["placement"]
    assert isinstance(found, dict)
    return found


@contextmanager
def game_on(cpu: int, sup: Supervised) -> Iterator[None]:
    """A game that spins: it begins on that CPU, and may then run on any."""
    with running(["/bin/sh", "-c", "while :; do :; done"]) as game:
        os.sched_setaffinity(game.pid, {cpu})
        sup.ask("game_add", pid=game.pid)
        wait_until("its class", lambda: placement(sup)["away_s"] > 0.2, 60)
        os.sched_setaffinity(game.pid, set(range(CPUS)))
        yield


def test_the_kernel_and_our_home_have_the_capacities_of_the_device_tree() -> None:
    sysfs = Path("/sys/devices/system/cpu")
    assert os.uname().machine == "aarch64"
    found = [int((sysfs / f"cpu{number}/cpu_capacity").read_text()) for number in range(CPUS)]
    assert found == capacities(CPUS)
    home = topology.read().home
    assert home.cpus == tuple(BIG_CORES) and home.why == "fast cores by cpu_capacity"


def test_a_game_that_begins_on_a_little_core_moves_to_a_big_one() -> None:
    with start_supervisor() as sup:
        assert placement(sup)["home"] == topology.format_list(BIG_CORES)
        with game_on(0, sup):
            before = placement(sup)
            wait_until("a move home", lambda: placement(sup)["moves"] > before["moves"], 60)
            there = placement(sup)
            wait_until("time at home", lambda: placement(sup)["home_s"] > there["home_s"] + 2, 60)
            after = placement(sup)
        assert after["away_s"] - there["away_s"] < after["home_s"] - there["home_s"]
