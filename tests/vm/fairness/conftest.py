# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheduler without the supervisor, as in tests/vm/attach; what is asserted here are shares of CPU time."""

from tests.vm.attach.conftest import hogs

__all__ = ["hogs"]
