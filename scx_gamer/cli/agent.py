# SPDX-License-Identifier: GPL-2.0-only
"""agent: what a user session runs."""

from __future__ import annotations


def agent() -> int:
    """Report the focus until SIGTERM."""
    from scx_gamer.agent.main import main

    return main()
