# SPDX-License-Identifier: GPL-2.0-or-later
"""Exits of every kind, forced on a real kernel."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from tests.vm.harness import (
    Supervised,
    faulty,
    kernel_state,
    restored,
    start_supervisor,
    wait_until,
)

QUICK = SupervisorOptions(mode="always", backoff_s=(0.5, 1.0, 2.0))
SLOW = SupervisorOptions(mode="always", backoff_s=(60.0, 60.0, 60.0))


@pytest.mark.needs("/proc/sysrq-trigger")
def test_sysrq_is_off_and_stays_off() -> None:
    with start_supervisor() as sup:
        Path("/proc/sysrq-trigger").write_text("S")
        status = sup.wait_state("off")
        assert status["last_exit"]["kind"] == 67 and status["failures"] == 0
        time.sleep(2)
        assert kernel_state() == "disabled" and sup.state() == "off"


@pytest.mark.needs("/sys/devices/system/cpu/cpu1/online")
def test_cpu_hotplug_is_a_new_generation_that_is_not_counted() -> None:
    cpu1 = Path("/sys/devices/system/cpu/cpu1/online")
    with start_supervisor() as sup, restored(cpu1) as online:
        for step, value in enumerate(("0", "1"), start=1):
            generation = sup.status()["generation"]
            online.write_text(value)

            def again(generation: int = generation) -> bool:
                status = sup.status()
                return bool(
                    status["state"] == "attached" and status["generation"] == generation + 1
                )

            wait_until("new generation", again, 60)
            status = sup.status()
            assert status["failures"] == 0 and status["last_exit"]["kind"] == 66
            assert sup.ask("snapshot")["counters"]["restarts"] == step


def saved_dumps(sup: Supervised) -> list[Path]:
    return sorted((sup.root / "state/exits").glob("*.json"))


def test_errors_back_off_then_fall_back() -> None:
    with start_supervisor(QUICK, env=faulty(fault_error_ms=1500), state="") as sup:
        sup.wait_state("fallback", 150)
        status = sup.status()
        assert status["failures"] == 3, status["last_exit"]
        assert status["last_exit"]["kind"] in (1024, 1025), status["last_exit"]
        assert status["generation"] == 3 and kernel_state() == "disabled"
        saved = saved_dumps(sup)
        assert len(saved) == 3
        body = json.loads(saved[-1].read_text())
        assert body["exit"]["generation"] == 3 and body["exit"]["dump"]
        assert body["context"]["status"]["scheduler"] is None


def test_a_stall_backs_off() -> None:
    """The kernel's watchdog ends it; that the third time is the last one is the same for every kind."""
    with start_supervisor(SLOW, env=faulty(fault_stall_ms=1500), state="") as sup:
        sup.wait_state("backoff", 150)
        status = sup.status()
        assert status["failures"] == 1 and status["last_exit"]["kind"] == 1026, status["last_exit"]
        assert kernel_state() == "disabled"
        [saved] = saved_dumps(sup)
        assert json.loads(saved.read_text())["exit"]["dump"]
