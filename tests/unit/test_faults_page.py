# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of faults is whole: every fault of the suite, and every test in it, is a row."""

from __future__ import annotations

import re
from pathlib import Path

from tests.vm.faults.actions import FAULTS

TOP = Path(__file__).resolve().parents[2]
PAGE = (TOP / "docs/faults.md").read_text()
# What is a mistake of the past and no fault of a machine: tests/regressions.toml has them.
NO_FAULT = {
    "test_gauges_count_live_tasks_and_end_at_zero",
    "test_a_hog_is_charged_all_of_its_runtime",
    "test_restarts_leave_everything_flat",
}


def test_every_fault_has_its_row() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert set(FAULTS) <= named, set(FAULTS) - named


def test_every_test_of_the_suite_has_its_row() -> None:
    tests = {
        name
        for folder in ("faults", "outages", "succession")
        for path in (TOP / "tests/vm" / folder).glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert "test_fault" in tests
    missing = {name for name in tests - NO_FAULT if name not in PAGE}
    assert not missing


def test_nothing_is_left_to_be_measured() -> None:
    assert "@" not in PAGE
    for what in ("kill -9", "hangs", "tasks are not given out", "a CPU goes"):
        (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and what in line]
        assert re.search(r"\d+ ms|\d+\.\d s", row.split("|")[3]), row
