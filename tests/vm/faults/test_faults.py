# SPDX-License-Identifier: GPL-2.0-or-later
"""Each fault by itself: what it does is survived, seen, and over within a time that is measured. See docs/faults.md."""

from __future__ import annotations

import pytest

from tests.vm.faults.actions import FAULTS, PRESSURE, Ward, faults


@pytest.mark.parametrize("name", faults(name for name in FAULTS if name not in PRESSURE))
def test_fault(patients: Ward, name: str) -> None:
    patients.survive(name)
