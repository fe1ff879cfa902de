# SPDX-License-Identifier: GPL-2.0-or-later
"""A program of the tests' own, compiled as ours are, to try the binding apart from the product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scx_gamer.libbpf import Object
from tests.clang import compile_bpf


def compiled(name: str, into: Path) -> Path:
    return compile_bpf(Path(__file__).with_name(f"{name}.bpf.c"), into / f"{name}.bpf.o")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("bpf")
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = compiled(name, folder)
        return made[name]

    return get


@pytest.fixture
def probe(build: Callable[[str], Path]) -> Iterator[Object]:
    with Object.open(build("probe")) as obj:
        obj.load()
        yield obj
