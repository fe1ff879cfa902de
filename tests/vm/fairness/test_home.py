# SPDX-License-Identifier: GPL-2.0-or-later
"""A home for the game: its threads run on the CPUs that are declared the fast ones, and come back to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.processes import running
from tests.vm.attach.conftest import Life, attach, attached

CPUS = os.cpu_count() or 1
pytestmark = pytest.mark.needs("/sys/devices/system/cpu/cpu3")
HOME = (CPUS - 2, CPUS - 1)
ORDER = [*HOME, *range(CPUS - 2)]
SPIN = "while :; do :; done"
Spin = Callable[[], Popen[bytes]]


@contextmanager
def at_home(*, home: int = 1) -> Iterator[tuple[Life, Spin]]:
    """A scheduler with the last two CPUs as home; how to start a program of the game that spins, on CPU 0 at first."""
    with ExitStack() as stack:
        places = [ORDER.index(cpu) for cpu in range(CPUS)]
        life = stack.enter_context(attach(nr_home=2, home_order=ORDER, home_place=places))
        life.tunables.set(f"value[{life.abi.constants['SCXG_TUN_HOME']}]", home)
        life.control.set("game_active", 1)

        def spin() -> Popen[bytes]:
            process = stack.enter_context(running(["/bin/sh", "-c", f"read x; {SPIN}"], stdin=PIPE))
            os.sched_setaffinity(process.pid, {0})
            life.mark(process.pid, "GAME")
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            life.sleep(0.3)
            os.sched_setaffinity(process.pid, set(range(CPUS)))
            return process

        yield life, spin


def cpu_of(process: Popen[bytes]) -> int:
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[36])


def away(life: Life, *threads: Popen[bytes]) -> float:
    """Return how many of the threads are away from home, as a mean of looks at two seconds.

    The scheduler's own sums say less: a turn counts when it ends, and one of a thread that is alone ends by chance.
    """
    looks, seconds = 60, 2
    seen = 0
    for _ in range(looks):
        life.sleep(seconds / looks)
        seen += sum(cpu_of(thread) not in HOME for thread in threads)
    return seen / looks


def without_one_at_home(threads: list[Popen[bytes]]) -> list[Popen[bytes]]:
    """End a thread that runs at home, if one does just now, and return the others."""
    gone = next((thread for thread in threads if cpu_of(thread) in HOME), threads[0])
    gone.kill()
    return [thread for thread in threads if thread is not gone]


def test_a_thread_that_never_sleeps_comes_home_beside_hogs(hogs: Callable[[int], None]) -> None:
    with at_home() as (life, spin):
        hogs(2 * CPUS)
        thread = spin()
        life.sleep(1)
        gone = away(life, thread)
        print(f"MEASURED a thread beside hogs is away from home for {gone:.2f} of its time")
        assert gone < 0.3, "half of it where nothing brings it back"
        assert attached()


def test_who_finds_home_full_runs_elsewhere_until_there_is_room() -> None:
    with at_home() as (life, spin):
        threads = [spin() for _ in range(3)]
        life.sleep(1)
        assert away(life, *threads) > 0.8, "a preference, not a mask"
        moves = life.total("home_moves")
        rest = without_one_at_home(threads)
        life.sleep(1)
        assert away(life, *rest) < 0.2
        assert 1 <= life.total("home_moves") < moves + 50, (
            "from ticks, and nobody goes to and fro at each"
        )


def test_without_the_setting_nobody_goes_there() -> None:
    """Three threads are at least one more than home has CPUs, wherever they begin; then there is room."""
    with at_home(home=0) as (life, spin):
        without_one_at_home([spin() for _ in range(3)])
        life.sleep(1)
        assert attached() and life.total("home_moves") == 0, "home by chance counts as none"
