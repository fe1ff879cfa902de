# SPDX-License-Identifier: GPL-2.0-or-later
"""leakcheck on a real kernel: it finds resources kept open and nothing else, and uses kmemleak where available."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scx_gamer.leakcheck import check, kmemleak
from tests.vm.harness import foreign_scheduler

CYCLES = 10  # two hundred in tests/vm/soak


def test_what_is_kept_open_is_named() -> None:
    report = check.selftest()
    assert report.verdict == "clean", report.findings
    assert set(report.figures) == {f"seen {kind}" for kind in check.SELFTEST}


def test_cycles_leave_nothing() -> None:
    report = check.run(CYCLES)
    print(report.figures)
    assert report.verdict == "clean", report.findings
    assert report.figures["resident"] < 4


def test_beside_another_scheduler_it_cannot_judge() -> None:
    with foreign_scheduler():
        report = check.run(2)
    assert report.exit_code == 2 and "someone_else" in report.findings[0]


@pytest.mark.small_kernel
def test_kmemleak_finds_its_own_sample_and_nothing_of_ours() -> None:
    module = Path(os.environ["SCX_GAMER_KERNEL_DIR"], "kmemleak-test.ko")
    report = check.run_kmemleak(CYCLES // 2, module)  # it names single objects, not a rise
    print(report)
    assert report.verdict == "clean", report.findings
    assert report.figures["control"] >= 5


def test_kmemleak_that_is_absent_is_said() -> None:
    report = check.run_kmemleak(1, None, report=kmemleak.Kmemleak(Path("/nonexistent")))
    assert report.exit_code == 2 and "mount -t debugfs" in report.findings[0]
