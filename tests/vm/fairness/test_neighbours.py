# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads that yield, hogs that change themselves, kernel threads that are bound late."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.processes import running
from tests.vm.attach.conftest import Life, attach

TICKS = os.sysconf("SC_CLK_TCK")
SECONDS = 1.0


@contextmanager
def beside_each_other(*programs: str) -> Iterator[list[int]]:
    """Python programs that share CPU 0, by pid; they end with the test."""
    with ExitStack() as stack:
        pids = []
        for program in programs:
            words = [sys.executable, "-Sc", f"import os\nos.sched_setaffinity(0, {{0}})\n{program}"]
            process = stack.enter_context(running(words))
            pids.append(process.pid)
        yield pids


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def turns(pid: int) -> float:
    """The number of times that it was taken off the CPU without having gone to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("nonvoluntary_ctxt_switches:")[2].split()[0])


def grown(life: Life, pids: list[int], of: Callable[[int], float], least: float = 0) -> list[float]:
    """The growth of a figure of each process, once they have started and have debt; the last one's is at least
    `least`, which takes longer on a machine that is not our own."""
    life.sleep(1)
    before = [of(pid) for pid in pids]
    for _ in range(10):
        life.sleep(SECONDS)
        growth = [of(pid) - then for pid, then in zip(pids, before, strict=True)]
        if growth[-1] >= least:
            break
    return growth


def test_a_thread_that_yields_lets_the_others_go_first() -> None:
    """Two spinners that keep their places would take turns until their slices are used up, before the hog's one."""
    spins = "while True: os.sched_yield()"
    with attach() as life, life.observe.maps["tunables"].mapped("scxg_tunables") as tunables:
        constants = life.abi.constants
        longest = constants["SCXG_MAX_SLICE_US"]
        tunables[0].set(f"value[{constants['SCXG_TUN_SLICE_US']}]", longest)
        with beside_each_other(spins, spins, "while True: pass") as pids:
            *spinners, hog = grown(life, pids, turns, least=20)
    print(f"MEASURED {sum(spinners) / hog:.1f} turns of two spinners for each of a hog's, {hog}")
    assert hog >= 20
    # A spinner that keeps its place has hundreds: as many as yields fit a slice of 20 ms.
    assert sum(spinners) < 20 * hog


def test_a_hog_that_changes_itself_is_a_hog() -> None:
    """A running task is dequeued for a moment where its nice value changes: that is no sleep."""
    changes = (
        "import time\n"
        "while True:\n"
        "    for nice in (0, 1):\n"
        "        os.setpriority(os.PRIO_PROCESS, 0, nice)\n"
        "        end = time.monotonic_ns() + 1_000_000\n"
        "        while time.monotonic_ns() < end: pass\n"
    )
    with attach() as life, beside_each_other(changes, "while True: pass") as pids:
        changing, plain = grown(life, pids, cpu_s)
    print(
        f"MEASURED a hog that changes itself ran {changing:.2f} s, one that does not {plain:.2f} s"
    )
    assert changing + plain > SECONDS / 2
    assert 0.5 < changing / plain < 2


def counted_as(life: Life, pid: int) -> int:
    """The class under which the scheduler counts a task; -1 if it does not know it."""
    fd = os.pidfd_open(pid)
    try:
        found = life.sched.maps["task_ctxs"].lookup(fd.to_bytes(4, sys.byteorder))
    finally:
        os.close(fd)
    if found is None:
        return -1
    at = life.sched.btf.struct("task_ctx").fields["counted"].offset
    return int.from_bytes(found[at : at + 4], sys.byteorder) - 1


@pytest.mark.needs(f"/lib/modules/{os.uname().release}/kernel/net/core")  # of pktgen
def test_a_kernel_thread_that_is_bound_after_its_first_run_counts_as_bound() -> None:
    """kthread_create_on_cpu() binds a thread that has run already: pktgen starts one for each CPU."""
    with attach() as life:
        wanted = life.abi.constants["SCXG_CLASS_KTHREAD"]
        subprocess.run(["modprobe", "pktgen"], check=True, timeout=60)
        try:
            started = [
                int(pid.name) for pid in Path("/proc").glob("[0-9]*")
                if (pid / "comm").read_text().startswith("kpktgend_")
            ]  # fmt: skip
            assert len(started) == os.cpu_count()
            for _ in range(100):  # each looks for work ten times a second
                life.sleep(0.2)
                classes = [counted_as(life, pid) for pid in started]
                if classes == [wanted] * len(started):
                    break
        finally:
            subprocess.run(["modprobe", "-r", "pktgen"], check=True, timeout=60)
    assert classes == [wanted] * len(started)
