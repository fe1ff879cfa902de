# SPDX-License-Identifier: GPL-2.0-or-later
"""As in tests/vm/faults: one supervisor for all."""

from tests.vm.faults.conftest import nothing_left, patients

__all__ = ["nothing_left", "patients"]
