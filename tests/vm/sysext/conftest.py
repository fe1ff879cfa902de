# SPDX-License-Identifier: GPL-2.0-or-later
"""A system that has nothing of ours but the extension."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """In place of the other folders': the test ends with the extension gone."""
