# SPDX-License-Identifier: GPL-2.0-or-later
"""The stress of sched_ext's own CI: the scheduler holds, and no task starves."""

from __future__ import annotations

from pathlib import Path

from tests.vm.attach.conftest import attach, attached, events, refills
from tests.vm.attach.test_attach import bound_ns
from tests.vm.stress import stress

SECONDS = 31  # as long as there: sched-ext/scx, .github/workflows/ci.yml


def test_the_ci_stress_does_not_eject_it(tmp_path: Path) -> None:
    with attach() as life:
        before = refills()
        with stress(SECONDS, tmp_path):
            life.sleep(SECONDS)
        assert attached() or life.ended()
        assert refills() == before, events()
        print(f"oldest waiter {life.state.get('oldest_wait_max_ns') / 1e6:.1f} ms")
        assert life.state.get("oldest_wait_max_ns") < bound_ns(300)
