# SPDX-License-Identifier: GPL-2.0-or-later
"""Exits of every kind, forced on a real kernel."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from tests.vm.harness import faulty, kernel_state, restored, start_supervisor, wait_until

QUICK = SupervisorOptions(mode="always", backoff_s=(0.5, 1.0, 2.0))


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


@pytest.mark.parametrize(
    ("switch", "kinds"), [("fault_error_ms", {1025, 1024}), ("fault_stall_ms", {1026})]
)
def test_errors_back_off_then_fall_back(switch: str, kinds: set[int]) -> None:
    with start_supervisor(QUICK, env=faulty(**{switch: 1500}), state="") as sup:
        sup.wait_state("fallback", 150)
        status = sup.status()
        assert status["failures"] == 3 and status["last_exit"]["kind"] in kinds, status["last_exit"]
        assert status["generation"] == 3 and kernel_state() == "disabled"
        saved = sorted((sup.root / "state/exits").glob("*.json"))
        assert len(saved) == 3
        body = json.loads(saved[-1].read_text())
        assert body["exit"]["generation"] == 3 and body["exit"]["dump"]
        assert body["context"]["status"]["scheduler"] is None


@pytest.mark.parametrize("state", ["backoff", "fallback"])
def test_terminate_while_it_waits(state: str) -> None:
    """The other states: tests/vm/service."""
    waits = (60.0, 60.0, 60.0) if state == "backoff" else (0.2, 0.2, 0.2)
    options = SupervisorOptions(mode="always", backoff_s=waits)
    with start_supervisor(options, env=faulty(fault_error_ms=500), state="") as sup:
        sup.wait_state(state, 150)
        assert kernel_state() == "disabled"
        assert sup.end() == 0
        assert not [p.name for p in (sup.root / "run").iterdir()]


@pytest.mark.parametrize(
    ("switch", "sign"), [("fault_storage", "ctx_missing"), ("fault_timer", "")]
)
def test_what_is_missing_does_not_eject(switch: str, sign: str) -> None:
    with start_supervisor(QUICK, env=faulty(**{switch: 1})) as sup:
        time.sleep(8)  # longer than the test build's watchdog
        status = sup.status()
        assert status["state"] == "attached" and status["generation"] == 1
        if sign:
            assert sup.ask("snapshot")["cpu_stats"][sign][0] > 0
        else:
            assert status["scheduler"]["timer_failed"] > 0 and status["scheduler"]["ticks"] == 0
