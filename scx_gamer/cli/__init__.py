# SPDX-License-Identifier: GPL-2.0-only
"""The command line. Nothing heavy is imported here: `run`, `exec` and `version` must be quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Whatever goes wrong is one line on stderr."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        from scx_gamer.cli.commands import parse

        found = parse(["version"] if args == ["--version"] else args)
        if found is not None:
            command, values = found
            return command.call(**values)
        from scx_gamer.cli.app import run

        return run(args)
    except (Exception, KeyboardInterrupt) as error:  # never a traceback
        from scx_gamer.cli.errors import report

        return report(error)
