# SPDX-License-Identifier: GPL-2.0-only
"""The parser of `/proc/PID/stat`, on texts that kernels write and on texts that they do not."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.system.procfs import ParseError, parse_stat

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
