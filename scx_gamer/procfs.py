# SPDX-License-Identifier: GPL-2.0-only
"""Facts of one process, as /proc shows them.

What is read again and again is named by strings, here and wherever it is so: pathlib interns each part of a path, and
the interpreter's table of interned names grows with those that were, even once they are gone.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def read(pid: int, name: str, proc: Path = PROC, limit: int = -1) -> bytes:
    """A file of the process, up to `limit` bytes of it; raises OSError."""
    with open(f"{proc}/{pid}/{name}", "rb", buffering=0) as file:
        return file.readall() if limit < 0 else file.read(limit)


def start_of(pid: int, proc: Path = PROC) -> int | None:
    """Start time in clock ticks since boot: with the pid, it names a process for ever. None when it ended."""
    try:
        fields = read(pid, "stat", proc).rpartition(b")")[2].split()
        if fields[0] in (b"X", b"Z") and int(fields[17]) <= 1:  # its threads may outlive the first
            return None
        return int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


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
