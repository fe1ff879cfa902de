# SPDX-License-Identifier: GPL-2.0-or-later
"""A terminal in full-screen mode, restored on every exit."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from types import FrameType
from typing import Self

from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.exit_codes import USAGE

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"  # alternate screen, hidden cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_POLL_S = 0.25  # between checks of the size
_KEY_BYTES = 32
_KEYS = {b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down", b"\x1b": "escape"}
_ENDS = (signal.SIGTERM, signal.SIGHUP)


class TerminalError(ScxGamerError):
    """An error that stdin or stdout is not a terminal."""

    code = USAGE


class Ended(Exception):
    """An exception for a signal that ends the view. str() is the name of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class Terminal:
    """A context manager of the full-screen mode. Raises TerminalError; Ended for SIGTERM and SIGHUP."""

    def __init__(self) -> None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise TerminalError("top needs a terminal; use `scx-gamer status --json`")
        self._in = sys.stdin.fileno()
        self._out = sys.stdout.fileno()
        self._before: list[object] = []
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._in)
        for number in _ENDS:
            self._handlers[number] = signal.signal(number, self._on_end)
        self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._on_stop)
        self._enter_screen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._leave_screen()

    def _enter_screen(self) -> None:
        tty.setcbreak(self._in, termios.TCSADRAIN)
        self._write(_ENTER)

    def _leave_screen(self) -> None:
        # both fail after a hang-up
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]
        with contextlib.suppress(OSError, termios.error):
            self._write(_LEAVE)

    @staticmethod
    def _on_end(number: int, _frame: FrameType | None) -> None:
        raise Ended(number)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        """Handle Ctrl-Z: restore the terminal for the shell, and enter the mode again when continued."""
        self._leave_screen()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._enter_screen()

    def _write(self, text: str) -> None:
        data = text.encode()
        while data:
            data = data[os.write(self._out, data) :]

    @property
    def size(self) -> tuple[int, int]:
        """Size of the terminal: (columns, rows)."""
        size = os.get_terminal_size(self._out)
        return size.columns or 80, size.lines or 24

    def draw(self, lines: list[str]) -> None:
        """Overwrite the screen line by line. Clearing it first would flicker."""
        rows = self.size[1]
        body = "\r\n".join(f"{line}\x1b[K" for line in lines[:rows])
        self._write(f"\x1b[H{body}\x1b[J")

    def key(self, timeout_s: float) -> str | None:
        """Return the next key; None after the timeout or a change of the size."""
        deadline = time.monotonic() + timeout_s
        size = self.size
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self._in], [], [], min(left, _POLL_S))
            if ready:
                data = os.read(self._in, _KEY_BYTES)
                if not data:
                    raise Ended(signal.SIGHUP)
                return _KEYS.get(data) or data[:1].decode("ascii", "replace")
            if self.size != size:
                return None
        return None
