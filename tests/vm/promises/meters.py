# SPDX-License-Identifier: GPL-2.0-or-later
"""Executes short-lived programs at a rate, as a compile or a shell script does."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import running

BUSYBOX = "/bin/busybox"  # static: nothing to load


def exec_once(program: Path) -> None:
    os.waitpid(os.posix_spawn(program, ["true"], {}), 0)


# argv: rate, file for the seconds that each took
_SPAWN = """
import os, struct, sys, time
rate, told, program = float(sys.argv[1]), sys.argv[2], sys.argv[3]
began, count = time.monotonic(), 0
fd = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
while True:
    before = time.monotonic()
    os.waitpid(os.posix_spawn(program, ["true"], {}), 0)
    count += 1
    os.write(fd, struct.pack("d", time.monotonic() - before))
    ahead = count / rate - (time.monotonic() - began)
    if ahead > 0:
        time.sleep(ahead)
"""


_TOOK = struct.Struct("d")


class Spawner:
    """Executes `program` at a rate, or as fast as this CPU can. `program`: a copy on a local file system."""

    def __init__(self, told: Path, program: Path) -> None:
        self._told, self._program = told, program

    def took_s(self) -> list[float]:
        """Return the time that each of them took so far, from fork to exit."""
        try:
            raw = self._told.read_bytes()
        except FileNotFoundError:
            return []
        return [took for (took,) in _TOOK.iter_unpack(raw[: len(raw) // _TOOK.size * _TOOK.size])]

    @contextmanager
    def running(self, rate: float) -> Iterator[None]:
        command = [
            sys.executable,
            "-S",
            "-c",
            _SPAWN,
            str(rate),
            str(self._told),
            str(self._program),
        ]
        with running(command):
            yield
