# SPDX-License-Identifier: GPL-2.0-only
"""The one place where an exception becomes a line for a person and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

from scx_gamer.system.errors import ScxGamerError, code_of_errno
from scx_gamer.system.exit_codes import INTERNAL, INTERRUPTED, OK
from scx_gamer.system.text import printable


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
    """Exit code of an exception; what is neither ours nor the system's is a bug."""
    if isinstance(error, ScxGamerError):
        return error.exit_code
    return code_of_errno(error.errno) if isinstance(error, OSError) else INTERNAL
