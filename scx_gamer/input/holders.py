# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that have an input device open, from /proc alone: no node is opened for it."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_MOST_FDS = 4096  # of one process: who has more keeps no reader of a device among them


def holders(nodes: set[str], proc: Path = _PROC, *, but: int = 0) -> dict[str, int]:
    """Return how many processes but one have each node open; only those that this user may look into count."""
    found = dict.fromkeys(nodes, 0)
    try:
        names = [name for name in os.listdir(proc) if name.isascii() and name.isdecimal()]
    except OSError:
        return found
    for name in names:
        if int(name) == but:
            continue
        for node in _links(f"{proc}/{name}/fd") & nodes:
            found[node] += 1
    return found


def _links(folder: str) -> set[str]:
    links = set()
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= _MOST_FDS:
                    break
                try:
                    links.add(os.readlink(entry.path))
                except OSError:
                    continue  # closed between the two
    except OSError:
        return set()  # it ended, or is another user's
    return links
