# SPDX-License-Identifier: GPL-2.0-only
"""The command line. Nothing heavy is imported here: `scx-gamer version` must be quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scx_gamer import __version__


def version_line() -> str:
    """What `version` prints."""
    return f"scx-gamer {__version__}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Whatever goes wrong is one line on stderr."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        if args in (["version"], ["--version"]):  # typer alone costs 0.1 s
            print(version_line())
            return 0
        from scx_gamer.cli.app import run

        return run(args)
    except (Exception, KeyboardInterrupt) as error:  # never a traceback
        from scx_gamer.cli.errors import report

        return report(error)
