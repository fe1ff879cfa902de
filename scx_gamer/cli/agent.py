# SPDX-License-Identifier: GPL-2.0-or-later
"""agent: the session agent."""

from __future__ import annotations


def agent() -> int:
    """Report the focus until SIGTERM."""
    from scx_gamer.agent.main import main

    return main()
