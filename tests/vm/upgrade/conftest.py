# SPDX-License-Identifier: GPL-2.0-or-later
"""The package of tests/vm/package."""

from tests.vm.package.conftest import deb, installed_game, nothing_left

__all__ = ["deb", "installed_game", "nothing_left"]
