# SPDX-License-Identifier: GPL-2.0-or-later
"""The card whose fences stand for the work of a GPU."""

from tests.vm.frames.test_gpu import node

__all__ = ["node"]
