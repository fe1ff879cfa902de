# SPDX-License-Identifier: GPL-2.0-or-later
"""A scheduler comes, schedules, and goes; nothing of it stays. Runs on every kernel of the matrix."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from scx_gamer.libbpf import RingBuffer, kernel
from scx_gamer.scheduler.attached import CGROUP_CALLBACKS
from tests.vm.attach.conftest import attach, attached, gone
from tests.vm.harness import wait_until

MS = 1_000_000
# Callbacks that not every kernel has; only kernels before 7.1 load cpu_release.
MAY_LACK = ("cpu_release", *CGROUP_CALLBACKS)


def test_it_attaches_schedules_and_leaves(hogs: Callable[[int], None]) -> None:
    with attach() as life:
        hogs(2 * (os.cpu_count() or 1))
        life.sleep(3)
        assert life.state.get("generation") == 7
        assert life.state.get("timer_failed") == 0
        life.wait(lambda: life.state.get("ticks") >= 10 and life.total("runs[0]") > 50)
        assert life.total("ctx_missing") == 0
        for name, program in life.sched.programs.items():
            if name.removeprefix("scxg_") in MAY_LACK:
                continue
            info = kernel.prog_info(program.fd)
            print(f"{info['name']}: {info['verified_insns']} instructions verified")
    assert gone()


def test_it_goes_by_the_clock_of_input_and_heartbeat() -> None:
    """CLOCK_MONOTONIC: a scheduler's own clock is another one, and stands still while others take a CPU's tasks."""
    cpus = os.sched_getaffinity(0)
    with attach() as life:
        os.sched_setaffinity(0, {min(cpus)})
        try:
            for _ in range(20):
                before = time.monotonic_ns()
                time.sleep(0.02)
                running = life.sched.maps["cpu_ctxs"].lookup(min(cpus).to_bytes(4, sys.byteorder))
                assert running is not None
                since = int.from_bytes(running[:8], sys.byteorder)  # cpu_ctx.run_since
                assert before + 20 * MS <= since <= time.monotonic_ns()
        finally:
            os.sched_setaffinity(0, cpus)


def test_the_timer_is_frozen_after_detach() -> None:
    with attach() as life:
        life.sleep(1)
        life.link.close()
        assert gone()
        assert life.exit.get("kind") == 64
        assert life.state.get("stopping") == 1
        ticks = life.state.get("ticks")
        time.sleep(0.5)
        assert life.state.get("ticks") == ticks


def test_several_caches(hogs: Callable[[int], None]) -> None:
    cpus = os.cpu_count() or 1
    with attach(llcs=min(2, cpus)) as life:
        hogs(2 * cpus + 1)
        life.sleep(3)
        life.wait(lambda: cpus == 1 or life.total("steals") > 0)


def bound_ns(tasks: int) -> int:
    """policy.h: D + W + L + (ceil(N / C) + 1) * S, S the slice rounded up to a tick of 4 ms."""
    cpus = os.cpu_count() or 1
    return (114 + (-(-tasks // cpus) + 1) * 20) * MS


def test_the_switch_goes_off_without_a_heartbeat_and_on_again() -> None:
    with attach() as life:
        life.wait(lambda: life.state.get("effects") == 1)
        before = life.state.get("effects_off")
        wait_until("no effects", lambda: not life.state.get("effects"))
        assert life.state.get("effects_off") == before + 1
        life.wait(lambda: life.state.get("effects") == 1)


def test_a_cpu_kicked_all_the_time_is_told(hogs: Callable[[int], None]) -> None:
    """With the limit lowered: a process of the game's class that wakes every millisecond beside hogs."""
    records: list[dict[str, Any]] = []
    with attach(storm_kicks=8) as life:
        ring = RingBuffer(
            life.observe.maps["events"],
            lambda data: records.append(life.abi.unpack("scxg_event", data)),
        )
        with closing(ring):
            life.mark(os.getpid(), "GAME")
            hogs(2 * (os.cpu_count() or 1))
            end = time.monotonic() + 60
            while not records and time.monotonic() < end:
                life.beat()
                for _ in range(100):
                    time.sleep(0.001)
                ring.consume()
            assert life.total("preempt_kicks[1]") >= 8
    assert records
    assert records[0]["type"] == life.abi.constants["SCXG_EV_PREEMPT_STORM"]
    assert 0 <= records[0]["value"] < (os.cpu_count() or 1)


def test_storage_that_cannot_be_had_ejects_nothing(hogs: Callable[[int], None]) -> None:
    with attach(faulty=True, fault_storage=1) as life:
        hogs(2 * (os.cpu_count() or 1))
        life.sleep(3)
        assert life.total("ctx_missing") > 0


def test_a_timer_that_does_not_start_ejects_nothing(hogs: Callable[[int], None]) -> None:
    with attach(faulty=True, fault_timer=1) as life:
        hogs(2 * (os.cpu_count() or 1))
        life.sleep(1)
        assert life.state.get("timer_failed") == 12
        assert life.state.get("ticks") == 0
        # the switch is then looked at in tick
        wait_until("no effects", lambda: not life.state.get("effects"))
        assert attached()


def test_a_forced_error_is_recorded() -> None:
    with attach(faulty=True, fault_error_ms=500) as life:
        wait_until("the exit", lambda: life.exit.get("kind"))
        assert life.exit.get("kind") == 1025
        assert life.exit.get("generation") == 7
        assert "test build" in life.exit.text("msg")
        assert life.exit.text("dump")
