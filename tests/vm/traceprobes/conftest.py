# SPDX-License-Identifier: GPL-2.0-or-later
"""The target of tests/vm/trace."""

from tests.vm.trace.conftest import binary

__all__ = ["binary"]
