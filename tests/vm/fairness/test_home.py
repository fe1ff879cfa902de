# SPDX-License-Identifier: GPL-2.0-or-later
"""A home for the game: its threads run on the CPUs that are declared the fast ones, and come back to them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.vm.attach.conftest import Life, attach, attached

CPUS = os.cpu_count() or 1
pytestmark = pytest.mark.needs("/sys/devices/system/cpu/cpu3")
HOME = (CPUS - 2, CPUS - 1)
ORDER = [*HOME, *range(CPUS - 2)]
SPIN = "while :; do :; done"
Spin = Callable[[], subprocess.Popen[bytes]]


@contextmanager
def at_home(*, home: int = 1) -> Iterator[tuple[Life, Spin]]:
    """A scheduler with the last two CPUs as home; how to start a program of the game that spins, on CPU 0 at first."""
    with ExitStack() as stack:
        places = [ORDER.index(cpu) for cpu in range(CPUS)]
        life = stack.enter_context(attach(nr_home=2, home_order=ORDER, home_place=places))
        life.tunables.set(f"value[{life.abi.constants['SCXG_TUN_HOME']}]", home)
        life.control.set("game_active", 1)

        def spin() -> subprocess.Popen[bytes]:
            process = stack.enter_context(subprocess.Popen(["/bin/sh", "-c", f"read x; {SPIN}"],
                                                           stdin=subprocess.PIPE))  # fmt: skip
            stack.callback(process.kill)
            os.sched_setaffinity(process.pid, {0})
            life.mark(process.pid, "GAME")
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            life.sleep(0.3)
            os.sched_setaffinity(process.pid, set(range(CPUS)))
            return process

        yield life, spin


def away(life: Life, seconds: float = 1) -> float:
    """Return the CPUs that the game keeps busy away from home."""
    field = f"run_ns[{life.abi['CLASS_GAME']}]"

    def ran() -> int:
        return sum(life.stats[cpu].get(field) for cpu in ORDER[2:])

    before = ran()
    life.sleep(seconds)
    return (ran() - before) / 1e9 / seconds


def test_a_thread_that_never_sleeps_comes_home_beside_hogs(hogs: Callable[[int], None]) -> None:
    with at_home() as (life, spin):
        hogs(2 * CPUS)
        spin()
        life.sleep(1)
        assert away(life) < 0.05, "from a tick, or from the queue if a hog came between"
        assert attached()


def test_who_finds_home_full_runs_elsewhere_until_there_is_room() -> None:
    with at_home() as (life, spin):
        first = spin()
        spin(), spin()
        life.sleep(1)
        assert away(life) > 0.8, "a preference, not a mask"
        moves = life.total("home_moves")
        first.kill()
        life.sleep(1)
        assert away(life) < 0.05
        assert 1 <= life.total("home_moves") < moves + 5, "from ticks, and nobody goes to and fro"


def cpu_of(process: subprocess.Popen[bytes]) -> int:
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[36])


def test_without_the_setting_nobody_goes_there() -> None:
    """Three threads are at least one more than home has CPUs, wherever they begin; then there is room."""
    with at_home(home=0) as (life, spin):
        threads = [spin() for _ in range(3)]
        life.sleep(1)
        next(thread for thread in threads if cpu_of(thread) in HOME).kill()
        life.sleep(1)
        assert away(life) > 0.8 and life.total("home_moves") == 0
