# SPDX-License-Identifier: GPL-2.0-or-later
"""Each of the nine mistakes in ownership, made on purpose on the real libbpf: its detector names it."""

from __future__ import annotations

import ctypes as C
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.control.server import ControlServer
from scx_gamer.libbpf import BpfError, Link, Object, find_object
from scx_gamer.libbpf._native import real, stand_in
from scx_gamer.metrics.exporter import Exporter
from scx_gamer.system.lock import Instance
from scx_gamer.system.loop import Loop
from scx_gamer.system.sd_notify import Notifier
from tests.ownership import Book, broken_contract, locks_held


@pytest.fixture
def book() -> Iterator[Book]:
    book = Book(real())
    with stand_in(book):
        yield book


def kinds(book: Book) -> list[str]:
    return [violation.kind for violation in book.close()]


def opened() -> Object:
    return Object.open(find_object("observe"))


def test_a_clean_life_has_a_clean_account(book: Book) -> None:
    with opened() as obj:
        assert book.live() == {"object": 1}
        assert obj.maps["control"].key_size == 4
    assert kinds(book) == []
    assert "bpf_object__open_file" in book.calls


def test_1_leak(book: Book) -> None:
    obj = opened()
    assert kinds(book) == ["leak"]
    obj.close()
    assert kinds(book) == []


def test_2_double_free(book: Book) -> None:
    obj = opened()
    handle = obj._owner.handle
    obj.close()
    obj._owner.handle = handle  # an object that forgets that it closed
    obj.close()
    assert kinds(book) == ["double free"]


def test_3_use_after_move(book: Book) -> None:
    obj = opened()
    raw = obj.maps["control"]._raw
    handle = obj._owner.handle
    obj.close()
    book("bpf_map__fd", raw)
    book("bpf_object__load", handle)
    assert kinds(book) == ["use after move", "use after move"]
    with pytest.raises(
        BpfError, match="closed"
    ):  # and our own classes say so before it comes to that
        _ = obj.maps["control"].type


def test_4_uninitialised_cleanup(book: Book) -> None:
    book("bpf_link__destroy", 0)
    book("ring_buffer__free", 4096)
    assert kinds(book) == ["uninitialised cleanup"] * 2
    book.violations.clear()
    Link(0).close()
    assert kinds(book) == []


class Forgetful:
    """Closes twice: the second time an fd that is no longer its own."""

    def __init__(self) -> None:
        self.fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self.fd)


def test_5_broken_cleanup_contract() -> None:
    assert "second close raised OSError" in broken_contract(Forgetful())


class Served:
    """An exporter with a loop of its own."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.exporter = Exporter(self.loop, "127.0.0.1", 0, lambda: iter([b""]))

    def close(self) -> None:
        self.exporter.close()
        self.loop.close()


RESOURCES: dict[str, Callable[[Path], Any]] = {
    "loop": lambda _path: Loop(),
    "instance": Instance,
    "object": lambda _path: opened(),
    "link": lambda _path: Link(0),
    "exporter": lambda _path: Served(),
    "notifier": lambda _path: Notifier(),
}


@pytest.mark.parametrize("name", RESOURCES)
def test_5_every_resource_keeps_the_contract(name: str, tmp_path: Path) -> None:
    fds = set(os.listdir("/proc/self/fd"))
    assert broken_contract(RESOURCES[name](tmp_path)) == ""
    assert set(os.listdir("/proc/self/fd")) == fds


def test_5_a_server_leaves_the_loop_before_its_socket_closes(tmp_path: Path) -> None:
    fds = set(os.listdir("/proc/self/fd"))
    with Loop() as loop:
        assert broken_contract(ControlServer(loop, tmp_path / "s", {})) == ""
        assert loop.stats().sources == 0 and not (tmp_path / "s").exists()
    assert set(os.listdir("/proc/self/fd")) == fds


def rodata(obj: Object) -> bytes:
    section = next(one for name, one in obj.maps.items() if name.endswith(".rodata"))
    size = C.c_size_t()
    at = real().pointer("rodata", "bpf_map__initial_value", section._handle, C.byref(size))
    return C.string_at(at, size.value)


@pytest.mark.parametrize(
    "wrong", [{"nothing": 1}, {"nr_cpus": 2**40}, {"cpu_llc": [1] * 5000}], ids=lambda w: min(w)
)
def test_6_mutation_on_failure(wrong: dict[str, Any]) -> None:
    with Object.open(find_object("sched")) as obj:
        before = rodata(obj)
        with pytest.raises(BpfError):
            obj.set_rodata(generation=99, **wrong)
        assert rodata(obj) == before, "a refused call has changed something"
        obj.set_rodata(generation=99)
        assert rodata(obj) != before


def test_7_wrong_element_destructor(book: Book) -> None:
    with opened() as obj:
        book("bpf_link__destroy", obj._owner.handle)
        assert kinds(book)[0] == "wrong element destructor"


def test_8_fd_sentinel(book: Book) -> None:
    key = C.create_string_buffer(4)
    book("bpf_map_update_elem", -1, key, key, 0)
    assert kinds(book) == ["fd sentinel"]
    book.violations.clear()
    with opened() as obj, pytest.raises(BpfError, match="not loaded"):
        obj.maps["classes"].delete(b"\0\0\0\0")
    assert kinds(book) == []


def test_9_lock_leak(tmp_path: Path) -> None:
    before = locks_held()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert len(locks_held() - before) == 1
    finally:
        os.close(fd)
    assert locks_held() == before
    with closing(Instance(tmp_path)):
        assert len(locks_held() - before) == 1
    assert locks_held() == before


def test_the_nth_call_fails_and_nothing_stays() -> None:
    for number in range(1, 4):
        book = Book(real(), fail_at=number)
        with stand_in(book):
            try:
                with Object.open(find_object("sched")) as obj:
                    obj.set_rodata(generation=1)
                    obj.maps["cpu_stats"].set_max_entries(4)
            except BpfError:
                assert book.failed
            else:
                pytest.fail(f"call {number} did not fail: {book.calls}")
        assert book.close() == []


def test_a_forgotten_file_fails_a_test_run(tmp_path: Path) -> None:
    """Python's own warnings of unclosed resources are errors under our configuration."""
    (tmp_path / "test_it.py").write_text("def test_it():\n    open('/dev/null')\n")
    config = Path(__file__).parents[3] / "pyproject.toml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(config)]
    done = subprocess.run(
        [*command, str(tmp_path / "test_it.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "unclosed file" in done.stdout, done.stdout
