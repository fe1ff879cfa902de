# SPDX-License-Identifier: GPL-2.0-or-later
"""The sentence on where the games' threads ran, which `status` and `games explain` show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import PlacementFacts


def placement_text(facts: PlacementFacts) -> str:
    """Say in a sentence where the games' threads ran since the start, and why."""
    ran = facts["home_s"] + facts["away_s"]
    where = "all CPUs are its home"
    if facts["home"]:
        share = facts["home_s"] / ran if ran else 0
        where = f"{share:.1%} of {ran:.1f} s on CPUs {facts['home']}"
    moves = f"{facts['moves']} moves there" if facts["moves"] else ""
    shield = f"{facts['shield_s']:.1f} s beside it kept free" if facts["shield_s"] else ""
    return ", ".join(filter(None, (f"{where} ({facts['why']})", moves, shield)))
