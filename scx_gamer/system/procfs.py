# SPDX-License-Identifier: GPL-2.0-only
"""Facts of one process, as /proc shows them.

What is read again and again is named by strings, here and wherever it is so: pathlib interns each part of a path, and
the interpreter's table of interned names grows with those that were, even once they are gone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


def read(pid: int, name: str, proc: Path = PROC, limit: int = -1) -> bytes:
    """A file of the process, up to `limit` bytes of it; raises OSError."""
    with open(f"{proc}/{pid}/{name}", "rb", buffering=0) as file:
        return file.readall() if limit < 0 else file.read(limit)


class ParseError(ValueError):
    """A `/proc` text that no kernel writes."""


class Stat(NamedTuple):
    """Of `/proc/PID/stat`; times in clock ticks."""

    pid: int
    comm: str
    ppid: int
    cpu: int
    start: int
    kthread: bool
    ended: bool


def parse_stat(text: str) -> Stat:
    """`/proc/PID/stat`; raises ParseError.

    comm may hold anything, blanks, brackets and newlines included: it ends at the last `)`. A process whose first
    thread has ended lives on in the others.
    """
    opening, closing = text.find(" ("), text.rfind(")")
    if opening < 0 or closing < opening:
        raise ParseError("stat: no comm in brackets")
    rest = text[closing + 1 :].split()
    try:
        return Stat(
            pid=int(text[:opening]),
            comm=text[opening + 2 : closing],
            ppid=int(rest[1]),
            cpu=int(rest[11]) + int(rest[12]),
            start=int(rest[19]),
            kthread=bool(int(rest[6]) & 0x00200000),  # PF_KTHREAD
            ended=(rest[0] in "ZX" or bool(int(rest[6]) & 4))  # PF_EXITING
            and int(rest[17]) <= 1,
        )
    except (IndexError, ValueError) as err:
        raise ParseError(f"stat: {err}") from err


def stat_of(pid: int, proc: Path = PROC) -> Stat | None:
    """None when it is gone, or in a text that no kernel writes."""
    try:
        return parse_stat(read(pid, "stat", proc, 4096).decode("utf-8", "backslashreplace"))
    except (OSError, ParseError):
        return None


def start_of(pid: int, proc: Path = PROC) -> int | None:
    """Start time in clock ticks since boot: with the pid, it names a process for ever. None when it ended."""
    stat = stat_of(pid, proc)
    return None if stat is None or stat.ended else stat.start


def comm_of(pid: int, proc: Path = PROC) -> str:
    """Name of a process; empty when it is gone."""
    try:
        return read(pid, "comm", proc).rstrip(b"\n").decode("utf-8", "replace")
    except OSError:
        return ""


def thread_names(pid: int, most: int, proc: Path = PROC) -> dict[int, str]:
    """tid → name of the first `most` threads of a process; empty when it is gone."""
    found: dict[int, str] = {}
    try:
        tids = sorted(int(name) for name in os.listdir(f"{proc}/{pid}/task"))
    except OSError:
        return found
    for tid in tids[:most]:
        try:
            raw = read(pid, f"task/{tid}/comm", proc)
        except OSError:  # it ended
            continue
        found[tid] = raw.rstrip(b"\n").decode("utf-8", "backslashreplace")
    return found


def uids_of(pid: int, proc: Path = PROC) -> set[int]:
    """Real, effective and saved user of a process; empty for one that is gone."""
    try:
        text = read(pid, "status", proc, 4096)
    except OSError:
        return set()
    for line in text.split(b"\n"):
        if line.startswith(b"Uid:"):
            fields = line.split()[1:4]
            return {int(f) for f in fields if f.isdigit()} if len(fields) == 3 else set()
    return set()
