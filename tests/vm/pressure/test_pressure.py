# SPDX-License-Identifier: GPL-2.0-or-later
"""The faults that keep every CPU busy, one by one. See docs/faults.md."""

from __future__ import annotations

import pytest

from tests.vm.faults.actions import PRESSURE, Ward, faults


@pytest.mark.parametrize("name", faults(PRESSURE))
def test_under_pressure(patients: Ward, name: str) -> None:
    patients.survive(name)
