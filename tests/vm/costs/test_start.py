# SPDX-License-Identifier: GPL-2.0-or-later
"""The cost of the supervisor's start, rest and stop."""

from __future__ import annotations

import os
import time
from pathlib import Path

from scx_gamer.config.options import SupervisorOptions
from tests.vm.harness import start_supervisor

# A guard against growth: 0.87e9 was measured, the verifier's and the emulated disk's included. A real CPU, where a
# start may take 0.25 s, did the same in 0.20 s at best, but for the two hooks on input, which its kernel did not load.
START_INSTRUCTIONS = 1.2e9
IDLE_SHARE, STOP_S = 0.001, 1.0
PER_SECOND = 1e9  # lockstep: one a nanosecond


def test_start_and_rest(tmp_path: Path) -> None:
    """As installed: the modules are compiled, here by the first of two starts."""
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    for compiles in (True, False):
        with start_supervisor(SupervisorOptions(mode="auto"), env=env, state="idle") as sup:
            started = sup.cpu_s()
            if compiles:
                continue
            time.sleep(20)
            idle = (sup.cpu_s() - started) / 20
    print(
        f"MEASURED a start takes {started * PER_SECOND / 1e6:.0f} million instructions, "
        f"waiting for a game {idle:.3%} of a CPU"
    )
    assert started * PER_SECOND < START_INSTRUCTIONS
    assert idle < IDLE_SHARE


def test_stop() -> None:
    with start_supervisor() as sup:
        began = time.monotonic()
        assert sup.end() == 0
        took = time.monotonic() - began
    print(f"MEASURED a stop, detached and unloaded: {took:.2f} s")
    assert took < STOP_S
