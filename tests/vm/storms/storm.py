# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads that spin, and a fork storm."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import running
from tests.programs import built
from tests.vm.attach.conftest import attach, attached, events, refills
from tests.vm.attach.test_attach import bound_ns

_PROGRAM = Path(__file__).with_name("storm.c")
_OTHERS = 300  # tasks of the guest itself


@contextmanager
def _observer() -> Iterator[None]:
    """This process outside of the scheduler under test: its own turns among thousands of threads would take minutes."""
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def nobody_is_lost(threads: int, seconds: float, folder: Path) -> None:
    """Assert that the scheduler holds, and that nobody waits for longer than its bound. `folder` is no shared one."""
    program = shutil.copy(built(_PROGRAM), folder)
    with _observer(), attach() as life:
        before = refills()
        with running([program, str(threads)]):
            life.sleep(seconds)
        assert attached() or life.ended()
        assert refills() == before, events()
        print(f"oldest waiter {life.state.get('oldest_wait_max_ns') / 1e6:.1f} ms")
        assert life.state.get("oldest_wait_max_ns") < bound_ns(threads + _OTHERS)
