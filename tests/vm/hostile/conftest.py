# SPDX-License-Identifier: GPL-2.0-or-later
"""The bus and polkit of tests/vm/bus."""

from tests.vm.bus.conftest import nothing_left, system

__all__ = ["nothing_left", "system"]
