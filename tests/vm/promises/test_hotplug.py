# SPDX-License-Identifier: GPL-2.0-or-later
"""Bursts of CPU hotplug: SMT off and on where there is SMT, else all CPUs but one.

tests/vm/run --lockstep --machine smt8 -- build/venv/bin/python -m pytest -s tests/vm/promises/test_hotplug.py
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from tests.vm.harness import kernel_state, start_supervisor, wait_until

CPU = Path("/sys/devices/system/cpu")
SMT = CPU / "smt/control"
SEQ = Path("/sys/kernel/sched_ext/enable_seq")
BURSTS = 20
MAX_AWAY_S = 2.0
APART_S = 1.5  # of two bursts, from the attach on: more than quick_restart_s


def switch(on: bool) -> None:
    if (CPU / "smt/active").read_text().strip() == "1" or SMT.read_text().strip() == "off":
        SMT.write_text("on" if on else "off")
        return
    for online in sorted(CPU.glob("cpu[0-9]*/online")):
        online.write_text("1" if on else "0")


def attached_after(count: int) -> bool:
    """Return True once a scheduler was enabled after the first `count`."""
    return int(SEQ.read_text()) > count and kernel_state() == "enabled"


@pytest.mark.timeout(900)
@pytest.mark.needs(str(CPU / "cpu1/online"))
def test_a_burst_is_one_generation_and_short() -> None:
    away = []
    try:
        with start_supervisor() as sup:
            status = sup.wait_state("attached")
            first, restarts = status["generation"], sup.ask("snapshot")["counters"]["restarts"]
            for burst in range(1, BURSTS + 1):
                time.sleep(APART_S)
                before, began = int(SEQ.read_text()), time.monotonic()
                switch(on=burst % 2 == 0)
                wait_until("attached again", partial(attached_after, before), 60)
                away.append(time.monotonic() - began)
            time.sleep(APART_S)
            status = sup.status()
            assert status["state"] == "attached" and status["failures"] == 0
            assert status["generation"] - first == BURSTS
            assert sup.ask("snapshot")["counters"]["restarts"] - restarts == BURSTS
    finally:
        switch(on=True)
    longest = max(away)
    print(f"MEASURED hotplug: {BURSTS} bursts, at most {longest:.2f} s without the scheduler")
    assert longest < MAX_AWAY_S, away
