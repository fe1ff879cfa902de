# SPDX-License-Identifier: GPL-2.0-or-later
"""Marks of processes that outlive the supervisor: a restart in the middle of a game finds it again.

A mark holds for one process, by pid and start time: `games add` and `exec`, and the program of a desktop entry that a
process began as, which nothing shows once it has become its engine. The file is root's, in the state directory: systemd
removes the runtime directory with each end of the service. It holds for its own boot.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from scx_gamer.system.files import write_atomic

log = logging.getLogger(__name__)

MAX_MARKS = 1024
MAX_FILE_BYTES = 1 << 20
MAX_TEXT = 4096  # of a path
_PID_MAX = 1 << 22

Marks = dict[int, tuple[int, str]]  # pid → (start, text)
KINDS = ("explicit", "began")


def parse(raw: bytes, boot: str) -> dict[str, Marks]:
    """Read the marks of a file, none of another boot's; raises ValueError for what no supervisor has written."""
    found = json.loads(raw)
    if not isinstance(found, dict) or found.keys() - {"boot", *KINDS}:
        raise ValueError("not a table of marks")
    if not boot or found.get("boot") != boot:
        return {kind: {} for kind in KINDS}
    return {kind: _marks(found.get(kind, [])) for kind in KINDS}


def _marks(rows: object) -> Marks:
    if not isinstance(rows, list) or len(rows) > MAX_MARKS:
        raise ValueError("not a list of marks")
    marks: Marks = {}
    for row in rows:
        if not isinstance(row, list) or [type(v) for v in row] != [int, int, str]:
            raise ValueError("a mark is malformed")
        pid, start, text = row
        if not (0 < pid <= _PID_MAX and 0 <= start < 1 << 63 and len(text) <= MAX_TEXT):
            raise ValueError("a mark is out of range")
        marks[pid] = start, text
    return marks


class MarkFile:
    """The file of marks; written when they have changed."""

    def __init__(self, path: Path, boot: str) -> None:
        self._path = path
        self._boot = boot
        self._written = b""
        self._failed = False

    def read(self) -> dict[str, Marks]:
        """Return the marks of the supervisor before this one; none if there was none."""
        try:
            with open(self._path, "rb") as file:
                return parse(file.read(MAX_FILE_BYTES), self._boot)
        except FileNotFoundError:
            return {kind: {} for kind in KINDS}
        except (OSError, ValueError, RecursionError) as err:
            log.warning(
                "marks of processes are not kept over this restart: %s: %s", self._path, err
            )
            return {kind: {} for kind in KINDS}

    def write(self, marks: Mapping[str, Marks]) -> None:
        """Write the newest marks of each kind, if they are others than before."""
        rows = {
            kind: [
                [pid, *mark]
                for pid, mark in list(marks[kind].items())[-MAX_MARKS:]
                if len(mark[1]) <= MAX_TEXT
            ]
            for kind in KINDS
        }
        data = json.dumps({"boot": self._boot, **rows}).encode()
        if data == self._written:
            return
        try:
            write_atomic(self._path, data, 0o600, sync=False)
        except OSError as err:
            if not self._failed:
                log.warning(
                    "%s cannot be written: %s; a restart forgets marks", self._path, err.strerror
                )
            self._failed = True
        else:
            self._written, self._failed = data, False
