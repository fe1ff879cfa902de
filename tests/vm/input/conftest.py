# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the input tests: the rig on either path, and virtual devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scx_gamer.libbpf import Object
from tests.programs import built
from tests.vm.input import devices
from tests.vm.input.rig import Rig, Writer, observing


@pytest.fixture(scope="session", autouse=True)
def modules() -> None:
    devices.load_modules()


@pytest.fixture(params=["kernel", "evdev"])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def observe() -> Iterator[Object]:
    with observing() as loaded:
        yield loaded


@pytest.fixture
def rig(observe: Object, path: str) -> Iterator[Rig]:
    rig = Rig(observe, path)
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


@pytest.fixture(scope="session")
def writer_binary() -> Path:
    return built(Path(__file__).with_name("writer.c"))


@pytest.fixture
def writer(writer_binary: Path) -> Iterator[Callable[[int, float], Writer]]:
    with ExitStack() as stack:

        def make(rate: int, seconds: float) -> Writer:
            made = Writer(writer_binary, rate, seconds)
            stack.callback(made.close)
            return made

        yield make
