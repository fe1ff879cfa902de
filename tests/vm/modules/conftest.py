# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed unit of tests/vm/systemd, beside the screen of tests/vm/screen."""

from tests.vm.screen.test_flips import desktop
from tests.vm.systemd.conftest import installed, nothing_left

__all__ = ["desktop", "installed", "nothing_left"]
