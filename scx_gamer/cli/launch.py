# SPDX-License-Identifier: GPL-2.0-only
"""Run a command as the game: this process is marked, so everything it starts is the game's."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from scx_gamer import control
from scx_gamer.cli import remote
from scx_gamer.system.text import printable

_FORWARDED = frozenset(
    {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
)
_SI_USER = 0  # sent by kill(); a terminal's own Ctrl-C reaches the child by itself


def run_as_game(command: Sequence[str]) -> int:
    """Run `command` to its end. Its exit status, 128 + N after signal N, 126/127 if not started."""
    waited = _FORWARDED | {signal.SIGCHLD}
    with ExitStack() as stack:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
        stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        # a parent that ignores SIGCHLD would take the exit status from us
        stack.callback(signal.signal, signal.SIGCHLD, signal.signal(signal.SIGCHLD, signal.SIG_DFL))
        if _mark():
            stack.callback(_unmark)
        try:
            child = os.posix_spawnp(command[0], list(command), os.environ, setsigmask=before)
        except OSError as error:
            why = printable(f"{command[0]}: {error.strerror}", 400)
            print(f"scx-gamer: cannot run {why}", file=sys.stderr)
            return 127 if isinstance(error, FileNotFoundError) else 126
        return _wait(child, waited)


def _mark() -> bool:
    try:
        remote.mark(os.getpid(), True)
    except (control.ControlError, OSError) as error:
        why = printable(str(error), 400)
        print(f"scx-gamer: runs without boost: {why}", file=sys.stderr)
        return False
    return True


def _unmark() -> None:
    # a supervisor that went away meanwhile, or saw our end first, has nothing to remove
    with suppress(control.ControlError, OSError):
        remote.mark(os.getpid(), False)


def _wait(child: int, waited: frozenset[signal.Signals]) -> int:
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        info = signal.sigwaitinfo(waited)
        if info.si_signo in _FORWARDED and info.si_code <= _SI_USER:
            os.kill(child, info.si_signo)
