# SPDX-License-Identifier: GPL-2.0-only
"""Each fault by itself: what it does is survived, seen, and over within a time that is measured. See docs/faults.md."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.vm.faults.actions import (
    FAULTS,
    OPTIONS,
    PRESSURE,
    Patient,
    admitted,
    faults,
    keep,
    survive,
)
from tests.vm.harness import directories, faulty, kernel_state, launch, start_supervisor, wait_until


@pytest.mark.parametrize("name", faults(name for name in FAULTS if name not in PRESSURE))
def test_fault(name: str) -> None:
    survive(name)


def test_hang_to_effects_off_as_the_kernel_sees_it() -> None:
    """Read by another process: the one that hangs cannot tell."""
    from tests.vm.attach.conftest import attach

    with attach() as life:
        life.beat()
        began = time.monotonic()
        wait_until("effects off", lambda: life.state.get("effects") == 0, 10)
        took = 1000 * (time.monotonic() - began)
        print(f"MEASURED last heartbeat to effects off: {took:.0f} ms")
        keep("last heartbeat to effects off", took)
        assert 2500 < took < 6000


def test_stall_to_the_kernels_scheduler() -> None:
    """Dispatch stops giving out tasks: the kernel's watchdog ends it."""
    with start_supervisor(OPTIONS, env=faulty(fault_stall_ms=2000), state="attached") as sup:
        attached = time.monotonic()
        time.sleep(2)
        began = time.monotonic()
        wait_until("thrown out", lambda: kernel_state() != "enabled", 60)
        took = 1000 * (time.monotonic() - began)
        print(f"MEASURED stall to the kernel's scheduler: {took:.0f} ms ({attached:.0f})")
        keep("stall to the kernel's scheduler", took)
        wait_until("noticed", lambda: sup.state() in ("backoff", "attached"), 30)


@pytest.mark.needs("/sys/kernel/tracing/events")
@pytest.mark.parametrize("hidden", ["/sys/kernel/tracing", "/sys/fs/cgroup", "/sys/kernel/debug"])
def test_without_a_file_system_that_is_not_needed(hidden: str) -> None:
    with directories() as root:
        sup = launch(OPTIONS, root, unshare=[hidden])
        try:
            sup.wait_state("attached", 60)
        finally:
            assert sup.end() == 0
    wait_until("disabled", lambda: kernel_state() == "disabled", 20)


def test_without_the_kernels_btf_it_says_so_and_ends() -> None:
    with directories() as root:
        sup = launch(OPTIONS, root, unshare=["/sys/kernel/btf"])
        assert sup.process.wait(60) == 69
        assert "Traceback" not in sup.text()
        assert re.search(r"(?i)btf", sup.text()), sup.text()
    assert kernel_state() == "disabled"


def test_a_torn_state_file_is_put_aside() -> None:
    with directories() as root:
        (root / "state").mkdir()
        (root / "state/state.json").write_text('{"schema": 1, "off": fal')
        with start_supervisor(OPTIONS, root=root) as sup:
            assert (root / "state/state.json.bad").exists()
            assert "unusable" in sup.text()
            assert sup.status()["generation"] > 1_000_000_000


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
    wait_until("effects", lambda: patient.sup.status()["scheduler"]["effects"] == 1, 15)
    patient.note("thaw to effects on", began)
    status = patient.sup.status()
    assert slept > 2 and status["state"] == "attached" and status["generation"] == generation
    Path("/sys/power/pm_test").write_text("none")
    assert os.path.exists("/sys/power/state")
