# SPDX-License-Identifier: GPL-2.0-or-later
"""No window opens for idle devices, however long they report."""

from __future__ import annotations

from tests.vm.input.at_rest import play_at_rest
from tests.vm.input.conftest import modules, observe, path, rig
from tests.vm.input.rig import Rig

__all__ = ["modules", "observe", "path", "rig"]

SECONDS = 60


def test_devices_on_a_table_open_no_window_for_a_minute(rig: Rig) -> None:
    play_at_rest(rig, SECONDS)
