# SPDX-License-Identifier: GPL-2.0-only
"""How fast this CPU executes programs, beside one of ours doing so on purpose."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# fork, exec and wait of a static program on a desktop CPU of some years ago. An emulated CPU is slower by the factor
# that `emulation` measures, and every limit that is one of time is multiplied by it.
NATIVE_EXEC_S = 0.0006
NOTHING = "/bin/true"


def exec_once(program: str = NOTHING) -> None:
    os.waitpid(os.posix_spawn(program, [program], {}), 0)


def emulation(rounds: int = 60) -> float:
    """Times slower than NATIVE_EXEC_S; at least 1."""
    exec_once()
    began = time.monotonic()
    for _ in range(rounds):
        exec_once()
    return max(1.0, (time.monotonic() - began) / rounds / NATIVE_EXEC_S)


# argv: rate, file with the count
_SPAWN = """
import os, sys, time
rate, told = float(sys.argv[1]), sys.argv[2]
began, count = time.monotonic(), 0
fd = os.open(told, os.O_WRONLY | os.O_CREAT, 0o600)
while True:
    os.waitpid(os.posix_spawn("/bin/true", ["/bin/true"], {}), 0)
    count += 1
    os.pwrite(fd, b"%020d" % count, 0)
    ahead = count / rate - (time.monotonic() - began)
    if ahead > 0:
        time.sleep(ahead)
"""


class Spawner:
    """Executes short-lived programs at a rate, or as fast as this CPU can."""

    def __init__(self, told: Path) -> None:
        self._told = told

    @property
    def count(self) -> int:
        try:
            return int(self._told.read_bytes() or b"0")
        except FileNotFoundError:
            return 0

    @contextmanager
    def running(self, rate: float) -> Iterator[None]:
        import sys

        with subprocess.Popen(
            [sys.executable, "-S", "-c", _SPAWN, str(rate), str(self._told)]
        ) as p:
            try:
                yield
            finally:
                p.kill()
