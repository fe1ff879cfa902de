# SPDX-License-Identifier: GPL-2.0-or-later
"""Parsers of /proc/PID, on texts that kernels write and on texts that they do not."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.system.procfs import (
    ParseError,
    cgroup_of,
    cgroup_path,
    last_cpu_of,
    parse_stat,
    pids,
)

TAIL = "S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 4 0 5555 1 1"


@given(st.text(max_size=20))
def test_any_comm_is_parsed(comm: str) -> None:
    if ")" in comm and comm.rstrip().endswith(")"):
        comm += "x"
    assert parse_stat(f"7 ({comm}) {TAIL}") == (7, comm, 1, 42, 5555, False, False)


@pytest.mark.parametrize(
    ("state", "flags", "threads", "ended"),
    [("S", 0, 4, False), ("Z", 0, 1, True), ("Z", 4, 3, False), ("R", 4, 1, True)],
)
def test_a_process_ends_with_its_last_thread(
    state: str, flags: int, threads: int, ended: bool
) -> None:
    text = f"7 (x) {state} 1 7 7 0 -1 {flags} 1 0 0 0 30 12 0 0 20 0 {threads} 0 5555 1 1"
    assert parse_stat(text).ended is ended


@given(st.text(max_size=200))
def test_no_text_crashes_the_stat_parser(text: str) -> None:
    with suppress(ParseError):
        parse_stat(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"0::/\n", "/"),
        (b"1:name=systemd:/x\n0::/a.slice\n", "/a.slice"),
        (b"0::/a\r0::/b\n", "/a\r0::/b"),
        (b"0::/\xff\n", "/\udcff"),
        (b"0::/gone (deleted)\n", None),
        (b"1:cpu:/x\n", None),
        (b"", None),
    ],
)
def test_the_cgroup_of_a_process(tmp_path: Path, text: bytes, path: str | None) -> None:
    """Names of cgroups may hold any byte but a newline (cgroup_mkdir, kernel/cgroup/cgroup.c)."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_bytes(text)
    assert cgroup_of(7, tmp_path) == path


def test_a_process_that_is_gone_has_no_cgroup(tmp_path: Path) -> None:
    assert cgroup_path(7, tmp_path) == b"" and cgroup_of(7, tmp_path) is None


def test_only_numbers_are_pids(tmp_path: Path) -> None:
    for name in ("7", "12", "self", "7x"):
        (tmp_path / name).mkdir()
    assert sorted(pids(tmp_path)) == [7, 12]


def test_a_thread_is_on_the_cpu_that_it_was_moved_to() -> None:
    """Each CPU that this process may use: the kernel moves a running thread before the call returns."""
    allowed, me = os.sched_getaffinity(0), threading.get_native_id()
    try:
        for cpu in allowed:
            os.sched_setaffinity(0, {cpu})
            assert last_cpu_of(os.getpid(), me) == cpu
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("text", ["", "7 (x) S", "7 (x) " + "1 " * 36 + "no", "7 x"])
def test_a_stat_without_a_cpu_tells_none(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "7/task/8"
    folder.mkdir(parents=True)
    (folder / "stat").write_text(text)
    assert last_cpu_of(7, 8, tmp_path) is None
