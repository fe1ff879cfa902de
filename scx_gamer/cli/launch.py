# SPDX-License-Identifier: GPL-2.0-or-later
"""exec: mark this process as a game, then become the command. No other process stays behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

from scx_gamer import control
from scx_gamer.cli import remote
from scx_gamer.system import procfs
from scx_gamer.system.text import printable

MARK_S = 1.0  # longest wait of a game for the supervisor
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def run_as_game(command: Sequence[str]) -> int:
    """Become `command`. Returns only if that fails: 127 if the command does not exist, else 126.

    The mark is for this process id and its start time, which execve keeps. The supervisor sees the end of the process.
    """
    _mark()
    for number in _IGNORED_BY_PYTHON:  # execve keeps ignored signals
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], list(command))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        print(f"scx-gamer: cannot run {printable(f'{command[0]}: {why}', 400)}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126


def _mark() -> None:
    pid = os.getpid()
    try:
        remote.mark(pid, procfs.start_of(pid), time.monotonic() + MARK_S)
    except (control.ControlError, OSError) as error:
        why = printable(str(error), 400)
        print(f"scx-gamer: runs without boost: {why}", file=sys.stderr, flush=True)
