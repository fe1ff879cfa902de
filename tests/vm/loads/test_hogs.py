# SPDX-License-Identifier: GPL-2.0-or-later
"""A marked game beside eight hogs a CPU: their turns take longer than the deadline that one hog alone has."""

from __future__ import annotations

from tests.vm.loads.beside import keeps_its_frames_beside


def test_eight_hogs_a_cpu_cost_no_frame() -> None:
    keeps_its_frames_beside("hogs-8")
