# SPDX-License-Identifier: GPL-2.0-or-later
"""A hundred threads that spin, and a fork storm: nobody is lost. tests/vm/storms has twenty times as many."""

from __future__ import annotations

from pathlib import Path

from tests.vm.storms.storm import nobody_is_lost


def test_a_hundred_spinning_threads_and_a_fork_storm(tmp_path: Path) -> None:
    nobody_is_lost(100, 2.5, tmp_path)
