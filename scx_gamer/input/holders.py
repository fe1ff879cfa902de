# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that have an input device open, from /proc alone: no node is opened for it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from scx_gamer.system import procfs


def holders(nodes: set[str], proc: Path = procfs.PROC, *, but: int = 0) -> dict[str, int]:
    """Return how many processes but one have each node open; only those that this user may look into count."""
    found = dict.fromkeys(nodes, 0)
    for pid in procfs.pids(proc) if proc.is_dir() else ():
        if pid != but:
            with suppress(OSError):  # it ended, or is another user's
                for node in nodes.intersection(procfs.open_files(pid, proc)):
                    found[node] += 1
    return found
