# SPDX-License-Identifier: GPL-2.0-or-later
"""A program of the tests' own, compiled as ours are, to try the binding apart from the product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scx_gamer.libbpf import Object
from tests.programs import built


@pytest.fixture(scope="session")
def build() -> Callable[[str], Path]:
    return lambda name: built(Path(__file__).with_name(f"{name}.bpf.c"))


@pytest.fixture
def probe(build: Callable[[str], Path]) -> Iterator[Object]:
    with Object.open(build("probe")) as obj:
        obj.load()
        yield obj
