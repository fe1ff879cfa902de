# SPDX-License-Identifier: GPL-2.0-or-later
"""One line about the scheduler for an overlay such as MangoHud's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_gamer.system.text import printable

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import StatusBody

WIDTH = 80


def line(status: StatusBody) -> str:
    """Return the state, then the game or the reason why there is no boost."""
    state = status.get("state", "starting")
    parts = [f"scx_gamer: {state}"]
    games = status.get("games") or ()
    if state == "attached":
        if games:
            parts.append(printable(games[0]["comm"], 24))
        path = status.get("input", {}).get("path", "none")
        if path != "none":
            parts.append(f"input {path}")
        live = status.get("scheduler")
        if live and not live["effects"]:
            parts.append("boosts off")
    elif state not in ("idle", "starting"):
        parts.append(printable(status.get("cause", ""), WIDTH))
    return "  ".join(part for part in parts if part)[:WIDTH]
