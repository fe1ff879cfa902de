# SPDX-License-Identifier: GPL-2.0-only
"""One line about the scheduler for an overlay such as MangoHud's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scx_gamer.system.text import printable

WIDTH = 80


def line(status: Mapping[str, Any]) -> str:
    """Of a status as `status --json` has it: the state, then the game or why there is no boost."""
    state = status.get("state", "starting")
    parts = [f"scx_gamer: {state}"]
    games = status.get("games") or ()
    if state == "attached":
        if games:
            parts.append(printable(str(games[0].get("comm", "")), 24))
        path = (status.get("input") or {}).get("path")
        if path not in (None, "none"):
            parts.append(f"input {path}")
        live = status.get("scheduler") or {}
        if live and not live.get("effects", 1):
            parts.append("boosts off")
    elif state not in ("idle", "starting"):
        parts.append(printable(str(status.get("cause", "")), WIDTH))
    return "  ".join(part for part in parts if part)[:WIDTH]
