# SPDX-License-Identifier: GPL-2.0-or-later
"""All faults of this folder meet one supervisor, so what is left behind is looked for once it has ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.conftest import leaving_nothing
from tests.vm.faults.actions import Ward, ward


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    with leaving_nothing():
        yield


@pytest.fixture(scope="module")
def patients(nothing_left: None) -> Iterator[Ward]:
    with ward() as found:
        yield found
