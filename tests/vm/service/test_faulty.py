# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor beside the test build. How the kernel ends a scheduler: tests/vm/exits."""

from __future__ import annotations

import time

import pytest

from scx_gamer.config.options import SupervisorOptions
from tests.vm.harness import faulty, kernel_state, start_supervisor


@pytest.mark.parametrize("state", ["backoff", "fallback"])
def test_terminate_while_it_waits(state: str) -> None:
    """The other states: test_terminate_in_idle_off_and_conflict."""
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
    with start_supervisor(env=faulty(**{switch: 1})) as sup:
        time.sleep(8)  # longer than the test build's watchdog
        status = sup.status()
        assert status["state"] == "attached" and status["generation"] == 1
        if sign:
            assert sup.ask("snapshot")["cpu_stats"][sign][0] > 0
        else:
            assert status["scheduler"]["timer_failed"] > 0 and status["scheduler"]["ticks"] == 0
