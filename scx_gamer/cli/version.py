# SPDX-License-Identifier: GPL-2.0-or-later
"""version"""

from __future__ import annotations

from scx_gamer import __version__


def version(as_json: bool) -> int:
    """Print the version."""
    if as_json:
        from scx_gamer.cli import output

        output.as_json({"version": __version__})
    else:
        print(f"scx-gamer {__version__}")
    return 0
