# SPDX-License-Identifier: GPL-2.0-or-later
"""The one place where an exception becomes a line for a person and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from errno import EDQUOT, EFBIG, EIO, ENOSPC

from scx_gamer.system.errors import ScxGamerError, code_of_errno
from scx_gamer.system.exit_codes import INTERNAL, INTERRUPTED, OK
from scx_gamer.system.text import printable

_UNWRITABLE = frozenset({ENOSPC, EDQUOT, EFBIG, EIO})


def report(error: BaseException) -> int:
    """Print `error` as one line; the exit code that goes with it."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    _discard_unwritable_output()
    if isinstance(error, BrokenPipeError):  # the reader of our output left: nothing to say
        return OK
    code = exit_code(error)
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename is None:
        text = f"cannot write the output: {error.strerror}; free space there or write elsewhere"
    if code == INTERNAL:
        if os.environ.get("SCX_GAMER_DEBUG"):
            traceback.print_exception(error)
        text = (
            f"internal error: {type(error).__name__}: {text};"
            " set SCX_GAMER_DEBUG=1 for where it happened, and please report it"
        )
    with suppress(OSError):  # stderr may be full as well
        print(f"scx-gamer: {printable(text, 2000)}", file=sys.stderr, flush=True)
    return code


def _discard_unwritable_output() -> None:
    """Send output that stdout refuses to /dev/null, so that the interpreter's own flush at the end says nothing."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)


def exit_code(error: BaseException) -> int:
    """Return the exit code of an exception. One that is neither ours nor an OSError is a bug."""
    if isinstance(error, ScxGamerError):
        return error.exit_code
    return code_of_errno(error.errno) if isinstance(error, OSError) else INTERNAL
