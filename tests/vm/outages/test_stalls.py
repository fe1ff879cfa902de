# SPDX-License-Identifier: GPL-2.0-or-later
"""Stalls of the supervisor, the scheduler and the whole machine. See docs/faults.md."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.vm.attach.conftest import attach
from tests.vm.faults.actions import OPTIONS, Patient, admitted, keep
from tests.vm.harness import faulty, kernel_state, start_supervisor, wait_until


def test_hang_to_effects_off_as_the_kernel_sees_it() -> None:
    """Read by another process: the one that hangs cannot tell."""
    with attach() as life:
        life.sleep(1)
        assert life.state.get("effects") == 1
        began = time.monotonic()
        life.beat()
        wait_until("effects off", lambda: life.state.get("effects") == 0, 60)
        took = 1000 * (time.monotonic() - began)
        print(f"MEASURED last heartbeat to effects off: {took:.0f} ms")
        keep("last heartbeat to effects off", took)
        assert took > 2500


def test_stall_to_the_kernels_scheduler() -> None:
    """Dispatch stops giving out tasks: the kernel's watchdog ends it."""
    with start_supervisor(OPTIONS, env=faulty(fault_stall_ms=2000), state="attached") as sup:
        time.sleep(2)
        began = time.monotonic()
        wait_until("thrown out", lambda: kernel_state() != "enabled", 60)
        took = 1000 * (time.monotonic() - began)
        print(f"MEASURED stall to the kernel's scheduler: {took:.0f} ms")
        keep("stall to the kernel's scheduler", took)
        wait_until("noticed", lambda: sup.state() in ("backoff", "attached"), 60)


@pytest.mark.needs("/sys/power/pm_test")
def test_suspend_and_resume() -> None:
    """As far as freezing every task and thawing them: an emulated machine does not sleep deeper and wake by itself."""
    with admitted() as patient:
        suspend(patient)


def suspend(patient: Patient) -> None:
    Path("/sys/power/pm_test").write_text("freezer")
    generation = patient.generation()
    began = time.monotonic()
    subprocess.run(["sh", "-c", "echo freeze > /sys/power/state"], check=True, timeout=60)
    slept = time.monotonic() - began
    began = time.monotonic()
    wait_until("effects", lambda: patient.sup.status()["scheduler"]["effects"] == 1, 60)
    patient.note("thaw to effects on", began)
    status = patient.sup.status()
    assert slept > 2 and status["state"] == "attached" and status["generation"] == generation
    Path("/sys/power/pm_test").write_text("none")
    assert os.path.exists("/sys/power/state")
