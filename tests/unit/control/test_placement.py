# SPDX-License-Identifier: GPL-2.0-or-later
"""The sentence on where games ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scx_gamer.control.placement import placement_text

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import PlacementFacts


@pytest.mark.parametrize(
    ("home", "moves", "shield_s", "text"),
    [
        ("0-7", 0, 0.0, "75.0% of 12.0 s on CPUs 0-7 (fast cores)"),
        ("0-7", 4, 0.0, "75.0% of 12.0 s on CPUs 0-7 (fast cores), 4 moves there"),
        ("", 0, 0.0, "all CPUs are its home (fast cores)"),
        ("0-7", 0, 3.5, "75.0% of 12.0 s on CPUs 0-7 (fast cores), 3.5 s beside it kept free"),
    ],
)
def test_placement_text(home: str, moves: int, shield_s: float, text: str) -> None:
    facts: PlacementFacts = {
        "home": home,
        "why": "fast cores",
        "home_s": 9.0,
        "away_s": 3.0,
        "moves": moves,
        "shield_s": shield_s,
        "shield_kicks": 2,
    }
    assert placement_text(facts) == text
