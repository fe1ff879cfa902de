# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed unit of tests/vm/systemd."""

from tests.vm.systemd.conftest import installed, nothing_left

__all__ = ["installed", "nothing_left"]
