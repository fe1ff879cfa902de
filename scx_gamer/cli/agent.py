# SPDX-License-Identifier: GPL-2.0-only
"""agent: what a user session runs."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("agent")
    def agent() -> None:
        """Tell the supervisor which program of this session has the focus, until SIGTERM. As the user, not root."""
        from scx_gamer.agent.main import main

        raise typer.Exit(main())
