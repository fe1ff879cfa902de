# SPDX-License-Identifier: GPL-2.0-or-later
"""Resources by identity on this machine (fds, threads, children, files), and slopes of memory."""

from __future__ import annotations

import mmap
import os
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.leakcheck import check, memory, world


@pytest.fixture(autouse=True)
def own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave out BPF objects, which need root, and the files of whatever else runs on this machine."""
    monkeypatch.setattr(world, "_bpf", lambda _mine: iter(()))
    monkeypatch.setattr(world, "_cgroups", lambda _mine: iter(()))
    monkeypatch.setattr(world, "PLACES", {str(tmp_path): ("",)})


def kinds(before: world.World) -> set[str]:
    return {resource.kind for resource in world.now() - before}


def test_each_kind_is_seen_and_gone_again(tmp_path: Path) -> None:
    before = world.now()
    read, write = os.pipe()
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    child = subprocess.Popen(["sleep", "60"])
    handle, name = tempfile.mkstemp(dir=tmp_path)
    try:
        assert kinds(before) == {"fd", "thread", "child process", "file"}
    finally:
        for fd in (read, write, handle):
            os.close(fd)
        end.set()
        thread.join()
        child.kill()
        child.wait()
        os.unlink(name)
    assert world.left_over(before) == []


def test_equal_counts_do_not_hide_another_descriptor(tmp_path: Path) -> None:
    first = os.open(tmp_path, os.O_RDONLY)
    before = world.now()
    os.close(first)
    second = os.open("/dev/zero", os.O_RDONLY)
    try:
        left = world.left_over(before, quiet_s=0)
        assert [thing.which for thing in left] == [f"{second} /dev/zero"]
    finally:
        os.close(second)


def test_a_zombie_is_left_behind() -> None:
    before = world.now()
    with subprocess.Popen(["true"]):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        assert "child process" in kinds(before)
    assert world.left_over(before) == []


def test_slope_is_not_moved_by_one_jump() -> None:
    assert memory.slope([100, 104, 108, 112]) == 4
    assert memory.slope([100, 100, 100, 900, 100, 100]) == 0
    assert memory.slope([100] * 5 + [300] * 5) < 40
    assert memory.slope([]) == memory.slope([7]) == 0


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample this process's memory only, because the machine's depends on other processes."""
    monkeypatch.setattr(world.Names, "ours", lambda: world.Names(frozenset(), frozenset()))
    whole = memory.sample
    monkeypatch.setattr(memory, "sample", lambda: {"resident": whole()["resident"]})


def touched() -> mmap.mmap:
    """Return 64 kB of resident memory that the allocator did not have."""
    made = mmap.mmap(-1, 64 * 1024)
    made.write(b"x" * len(made))
    return made


def test_a_rise_of_resident_memory_is_a_leak(alone: None) -> None:
    kept: list[mmap.mmap] = []

    def leaky(_number: int) -> None:
        kept.append(touched())

    report = check.run(20, one=leaky)
    for memory_kept in kept:
        memory_kept.close()
    assert report.verdict == "leak" and report.exit_code == 1
    assert report.figures["resident"] > 32 and "resident rises by" in report.findings[0]


def test_a_rise_that_does_not_go_on_is_none(alone: None) -> None:
    kept: list[mmap.mmap] = []

    def greedy_at_first(_number: int) -> None:
        if len(kept) < check.WARM_UP + 20:
            kept.append(touched())

    report = check.run(20, one=greedy_at_first)
    for memory_kept in kept:
        memory_kept.close()
    assert report.verdict == "clean" and report.figures["resident"] < 4, report


def test_a_descriptor_left_by_a_cycle_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.Names, "ours", lambda: world.Names(frozenset(), frozenset()))
    monkeypatch.setattr(world, "QUIET_S", 0)
    fds: list[int] = []
    report = check.run(2, one=lambda _n: fds.append(os.open("/dev/full", os.O_WRONLY)))
    for fd in fds:
        os.close(fd)
    assert [f for f in report.findings if "/dev/full" in f] and report.exit_code == 1


SLABINFO = """slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables
kmalloc-64          1000   1024     64   64    1 : tunables    0    0    0 : slabdata     16     16      0
task_struct           10     12   9728    3    8 : tunables    0    0    0 : slabdata      4      4      0
"""


def test_slabs_and_meminfo() -> None:
    assert memory.slabinfo(SLABINFO) == {"kmalloc-64": 64000, "task_struct": 97280}
    assert memory.kilobytes("MemTotal: 5 kB\nSlab:  123 kB\nPercpu: 9 kB\n", memory.MEMINFO) == {
        "Slab": 123,
        "Percpu": 9,
    }
    assert memory.kilobytes("Name:\tx\nVmRSS:\t 1234 kB\n", ["VmRSS"]) == {"VmRSS": 1234}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(SLABINFO.splitlines()), st.text(max_size=50)), max_size=20)
)
def test_any_text_is_taken(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert all(value >= 0 for value in memory.slabinfo(text).values())
    assert all(value >= 0 for value in memory.kilobytes(text, memory.MEMINFO).values())
