# SPDX-License-Identifier: GPL-2.0-only
"""The one place where an exception becomes a line for a person and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

from scx_gamer.system.text import printable

OK = 0
FAILED = 1
USAGE = 2
NOT_RUNNING = 3
UNSUPPORTED = 69
INTERNAL = 70
NO_PERMISSION = 77
BAD_CONFIG = 78
INTERRUPTED = 130

# By name, so that mapping an error imports no room that did not raise it.
_BY_NAME = {
    "ConfigError": BAD_CONFIG,
    "LibbpfTooOld": UNSUPPORTED,
}


def report(error: BaseException) -> int:
    """Print `error` as one line; the exit code that goes with it."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):  # the reader of our output left: nothing to say
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)
        return OK
    code = exit_code(error)
    text = str(error) or type(error).__name__
    if code == INTERNAL:
        if os.environ.get("SCX_GAMER_DEBUG"):
            traceback.print_exception(error)
        text = (
            f"internal error: {type(error).__name__}: {text};"
            " set SCX_GAMER_DEBUG=1 for where it happened, and please report it"
        )
    print(f"scx-gamer: {printable(text, 2000)}", file=sys.stderr)
    return code


def exit_code(error: BaseException) -> int:
    """Exit code of an exception, by type, then by errno."""
    for kind in type(error).__mro__:
        if kind.__name__ in _BY_NAME:
            return _BY_NAME[kind.__name__]
    code = getattr(error, "code", None)
    if isinstance(code, int) and 0 < code < 256:
        return code
    if isinstance(error, PermissionError) or getattr(error, "errno", 0) in (1, 13):
        return NO_PERMISSION
    if isinstance(error, OSError) or hasattr(error, "hint"):  # the rooms' own: what, errno, hint
        return FAILED
    return INTERNAL
