# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line. This module imports nothing large, because `run`, `exec` and `version` must start fast."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Every error is one line on stderr."""
    args = list(sys.argv[1:] if argv is None else argv)
    _prepare_output()
    try:
        code = _dispatch(args)
        sys.stdout.flush()  # a full disk is found out here, not when the interpreter ends
        return code
    except (Exception, KeyboardInterrupt) as error:  # never print a traceback
        from scx_gamer.cli.errors import report

        return report(error)


def _dispatch(args: list[str]) -> int:
    from scx_gamer.cli.commands import parse

    found = parse(["version"] if args == ["--version"] else args)
    if found is not None:
        command, values = found
        return command.call(**values)
    from scx_gamer.cli.app import run

    return run(args)


def _prepare_output() -> None:
    """Print characters that the locale lacks as escapes, and discard the output of a caller who closed stdout."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
