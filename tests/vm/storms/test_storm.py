# SPDX-License-Identifier: GPL-2.0-or-later
"""Two thousand threads that spin, and a fork storm: nobody is lost, nothing is ejected."""

from __future__ import annotations

from pathlib import Path

from tests.vm.storms.storm import nobody_is_lost


def test_two_thousand_spinning_threads_and_a_fork_storm(tmp_path: Path) -> None:
    nobody_is_lost(2000, 20, tmp_path)
