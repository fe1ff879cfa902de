# SPDX-License-Identifier: GPL-2.0-or-later
"""Two thousand threads that spin, and a fork storm: nobody is lost, nothing is ejected."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import built, running
from tests.vm.attach.conftest import attach, attached, events, refills
from tests.vm.attach.test_attach import bound_ns

SECONDS = 20


@pytest.fixture
def observer() -> Iterator[None]:
    """This process outside of the scheduler under test: its own turns among 2 000 threads would take minutes."""
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.mark.usefixtures("observer")
def test_two_thousand_spinning_threads_and_a_fork_storm(tmp_path: Path) -> None:
    program = shutil.copy(built(Path(__file__).with_name("storm.c")), tmp_path)
    with attach() as life:
        before = refills()
        with running([program]):
            life.sleep(SECONDS)
        assert attached() or life.ended()
        assert refills() == before, events()
        print(f"oldest waiter {life.state.get('oldest_wait_max_ns') / 1e6:.1f} ms")
        assert life.state.get("oldest_wait_max_ns") < bound_ns(2300)
