# SPDX-License-Identifier: GPL-2.0-or-later
"""A command on a real pseudo terminal, and what a person would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyte


@dataclass
class Screen:
    """`lines` is what is visible; `raw` every byte that was written."""

    process: subprocess.Popen[bytes]
    master: int
    slave: int
    screen: pyte.Screen
    stream: pyte.ByteStream
    raw: bytearray = field(default_factory=bytearray)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def read(self, timeout_s: float = 0.1) -> bool:
        """Take what was written; False if nothing was."""
        ready, _, _ = select.select([self.master], [], [], timeout_s)
        if not ready:
            return False
        data = os.read(self.master, 65536)
        self.raw += data
        self.stream.feed(data)
        return bool(data)

    def wait(self, what: Callable[[str], bool], timeout_s: float = 30.0) -> str:
        """The text once `what` holds of it."""
        deadline = time.monotonic() + timeout_s
        while not what(self.text):
            assert time.monotonic() < deadline, f"not seen in {timeout_s:g} s:\n{self.text}"
            self.read()
        return self.text

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        set_size(self.master, columns, rows)

    def modes(self) -> list[object]:
        return list(termios.tcgetattr(self.slave))

    def end(self, timeout_s: float = 20.0) -> int:
        """Its exit code; it must end by itself."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still runs:\n{self.text}"
            self.read()
        while self.read(0):
            pass
        return self.process.returncode


def set_size(fd: int, columns: int, rows: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextmanager
def on_screen(
    argv: Sequence[str], env: Mapping[str, str], columns: int = 80, rows: int = 24
) -> Iterator[Screen]:
    """Run `argv` with a terminal of this size as its own."""
    master, slave = pty.openpty()
    try:
        set_size(master, columns, rows)
        process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**env, "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        screen = pyte.Screen(columns, rows)
        try:
            yield Screen(process, master, slave, screen, pyte.ByteStream(screen))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
    finally:
        os.close(master)
        os.close(slave)
