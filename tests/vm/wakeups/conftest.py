# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed unit under systemd, as in tests/vm/systemd."""

from __future__ import annotations

from tests.vm.systemd.conftest import installed, nothing_left

__all__ = ["installed", "nothing_left"]
