# SPDX-License-Identifier: GPL-2.0-or-later
"""agent: the session agent."""

from __future__ import annotations

from scx_gamer.cli.commands import UsageError


def agent(notices: str | None) -> int:
    """Report the focus until SIGTERM."""
    from scx_gamer.agent.main import NOTICES, main

    if notices not in (None, *NOTICES):
        raise UsageError(f"--notices is one of {', '.join(NOTICES)}")
    return main(notices or "all")
