# SPDX-License-Identifier: GPL-2.0-or-later
"""The bus of tests/vm/bus, without polkit and without an installation: here all only read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.bus.conftest import System, nothing_left
from tests.vm.input import devices
from tests.vm.installed import FILES, PACKAGING

__all__ = ["nothing_left"]

POLICY = "dbus/io.github.scx_gamer.Supervisor1.conf"


@pytest.fixture(scope="session", autouse=True)
def system() -> Iterator[System]:
    devices.load_modules()
    os.environ.pop("SCX_GAMER_RUNTIME_DIR", None)
    Path(FILES[POLICY]).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(PACKAGING / POLICY, FILES[POLICY])
    system = System()
    system.start()
    try:
        yield system
    finally:
        system.stop()
