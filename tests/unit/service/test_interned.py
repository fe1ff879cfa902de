# SPDX-License-Identifier: GPL-2.0-or-later
"""The repeated reads and writes of a supervisor add nothing to the interpreter's table of interned names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scx_gamer.config.network import parse_target
from scx_gamer.input import scan_devices
from scx_gamer.libbpf import find_object
from scx_gamer.netlimit import cgroups
from scx_gamer.scheduler import sysfs, topology
from scx_gamer.scheduler.store import StateStore
from scx_gamer.service.status_files import Publisher
from scx_gamer.system import procfs
from scx_gamer.system.paths import Paths
from tests.unit.input.test_devices import add


@pytest.fixture
def interned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were not in the table when something interned them."""
    new: list[str] = []
    real = sys.intern

    def intern(name: str) -> str:
        copy = "".join(list(name))  # the table takes a name's first object, and gives back that one
        if len(name) > 1 and real(copy) is copy:
            new.append("".join(list(name)))  # not the object itself, which would stay in the table
        return real(name)

    monkeypatch.setattr(sys, "intern", intern)
    return new


def test_the_fixture_sees_one(interned: list[str]) -> None:
    sys.intern(f"was-never-there-{os.getpid()}")
    assert interned == [f"was-never-there-{os.getpid()}"]


def _actions(root: Path) -> dict[str, Callable[[], object]]:
    paths = Paths(root / "run", root / "state", root / "etc")
    paths.create()
    store, publisher = StateStore(paths), Publisher(paths)
    for number in (3, 4):
        add(root, number, number, b"mouse", rel="3")
    return {
        "devices": lambda: scan_devices(root / "class", root / "dev"),
        "topology": topology.read,
        "kernel": lambda: (sysfs.state(), sysfs.loaded(), sysfs.events()),
        "state": lambda: store.save(generation=store.state.generation + 1),
        "status": lambda: publisher.write({"state": "attached"}, "on"),
        "object": lambda: find_object("sched"),
        "process": lambda: [
            (procfs.start_of(pid), procfs.uids_of(pid), procfs.thread_names(pid, 4))
            for pid in procfs.pids()
        ],
        "target": lambda: cgroups.resolve(parse_target("exe:curl"), root),
    }


def test_again_and_again(tmp_path: Path, interned: list[str]) -> None:
    for name, action in _actions(tmp_path).items():
        action()
        interned.clear()
        for _ in range(3):
            action()
        assert not interned, name
