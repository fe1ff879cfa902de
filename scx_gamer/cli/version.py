# SPDX-License-Identifier: GPL-2.0-only
"""version"""

from __future__ import annotations

from typing import Annotated

import typer

from scx_gamer import __version__
from scx_gamer.cli import output, version_line


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("version")
    def version(
        as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
    ) -> None:
        """Print the version."""
        if as_json:
            output.as_json({"version": __version__})
        else:
            print(version_line())
