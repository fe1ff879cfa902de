# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pytest

from scx_gamer.scheduler import exit_dumps
from scx_gamer.scheduler.exits import ExitRecord
from scx_gamer.scheduler.store import Failure, State, StateStore
from scx_gamer.system import paths
from scx_gamer.system.lock import Instance, InstanceError


@pytest.fixture
def where(tmp_path: Path) -> paths.Paths:
    found = paths.Paths(tmp_path / "run", tmp_path / "state", tmp_path / "etc")
    found.create()
    return found


def test_round_trip(where: paths.Paths) -> None:
    store = StateStore(where)
    assert store.load() == State()
    failure = Failure("b", 5, 1026, "stall")
    assert store.save(off=True, off_reason="SysRq", generation=7, failures=(failure,))
    assert StateStore(where).load() == State(True, "SysRq", 7, (failure,))


def test_a_clean_end_leaves_nothing_in_the_runtime_directory(
    where: paths.Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StateStore(where)
    store.load()
    store.save(running_boot="b")
    store.save(generation=7)
    assert [path.name for path in where.runtime.iterdir()] == ["generation"]
    assert store.save(running_boot="")
    assert list(where.runtime.iterdir()) == []
    assert StateStore(where).load().generation == 7
    # a disk that does not take the state: the copy is all there is
    store.save(running_boot="b", generation=8)
    real = os.rename

    def full(before: str, after: Path) -> None:
        if after == where.state_file:
            raise OSError(28, "No space left on device")
        real(before, after)

    monkeypatch.setattr(os, "rename", full)
    assert not store.save(running_boot="", generation=9)
    assert [path.name for path in where.runtime.iterdir()] == ["generation"]
    monkeypatch.undo()
    assert StateStore(where).load().generation == 9


def test_every_torn_length_gives_a_state_and_keeps_the_generation(where: paths.Paths) -> None:
    store = StateStore(where)
    store.load()
    store.save(generation=41, failures=(Failure("b", 5, 1026, "stall"),))
    whole = where.state_file.read_bytes()
    for length in range(len(whole)):
        where.state_file.write_bytes(whole[:length])
        state = StateStore(where).load()
        assert state.generation >= 41 and not state.off
        assert not where.state_file.exists()
        assert where.state_file.with_name("state.json.bad").read_bytes() == whole[:length]


@pytest.mark.parametrize(
    "change",
    [
        {"generation": -1},
        {"generation": "7"},
        {"generation": 1 << 64},
        {"generation": True},
        {"off": 1},
        {"schema": 2},
        {"failures": [{"boot_id": 1}]},
        {"failures": "x"},
        {"failures": [1]},
    ],
)
def test_wrong_types_are_corrupt(
    where: paths.Paths, change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    store = StateStore(where)
    store.load()
    store.save(generation=3)
    raw = json.loads(where.state_file.read_bytes()) | change
    where.state_file.write_text(json.dumps(raw))
    with caplog.at_level(logging.ERROR):
        before = int(time.time())
        assert StateStore(where).load().generation >= before
    assert len(caplog.records) == 1
    assert where.state_file.with_name("state.json.bad").exists()


def test_full_disk_is_survived_and_the_generation_kept(
    where: paths.Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StateStore(where)
    store.load()
    store.save(generation=1)
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if "state.json" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", full)
    assert not store.save(generation=2)
    assert not store.save(generation=3)
    assert store.state.generation == 3 and store.write_errors == 2
    assert not where.state_file.with_name("state.json.tmp").exists()
    monkeypatch.undo()
    again = StateStore(where)
    assert again.load().generation == 3


def test_generation_is_not_below_that_of_the_dumps(where: paths.Paths) -> None:
    exit_dumps.save(where.exits, ExitRecord(1026, 0, 77, "stall"), {})
    (where.exits / "99999999999999999999999-x.json").touch()
    (where.exits / "junk").touch()
    assert StateStore(where).load().generation == 77


def test_backwards_is_refused(where: paths.Paths) -> None:
    store = StateStore(where)
    store.load()
    store.save(generation=5)
    with pytest.raises(ValueError, match="backwards"):
        store.save(generation=4)
    assert store.state.generation == 5


def test_dumps_are_bounded_and_the_newest_kept(where: paths.Paths) -> None:
    for generation in range(1, 40):
        assert exit_dumps.save(where.exits, ExitRecord(1024, 0, generation, dump="text"), {"a": 1})
    kept = sorted(int(path.name.split("-")[0]) for path in where.exits.iterdir())
    assert kept == list(range(20, 40))
    body = json.loads((where.exits / "39-error.json").read_text())
    assert body["exit"]["dump"] == "text" and body["context"] == {"a": 1}


def test_second_instance_is_refused_until_the_first_ends(where: paths.Paths) -> None:
    first = Instance(where.runtime)
    with pytest.raises(InstanceError, match="another supervisor"):
        Instance(where.runtime)
    first.close()
    first.close()
    Instance(where.runtime).close()


def test_lock_on_a_directory_that_was_replaced_does_not_count(where: paths.Paths) -> None:
    with Instance(where.runtime):
        where.runtime.rename(where.runtime.with_name("old"))
        where.runtime.mkdir()
        with Instance(where.runtime), pytest.raises(InstanceError):
            Instance(where.runtime)


def test_relative_directory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCX_GAMER_RUNTIME_DIR", "run")
    with pytest.raises(paths.PathError, match="relative"):
        paths.paths()
