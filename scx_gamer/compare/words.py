# SPDX-License-Identifier: GPL-2.0-or-later
"""The result of a comparison for a player, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from math import comb
from statistics import median
from typing import Any

from scx_gamer.bench.verdict import Interval
from scx_gamer.compare.blocks import LOOKS, End, Result, half_width

CHANCE = 0.01  # of as uneven discards where both sides are alike, below which they are named

_ENDS = {
    End.SURE: "",
    End.NARROW: "",
    End.PAIRS: "",
    End.TIME: "the time is over; ",
    End.INTERRUPTED: "interrupted; ",
}


def verdict(result: Result) -> str:
    """Return the verdict in one line. The interval misses the true change in at most one of twenty comparisons."""
    low1 = result.low1
    if low1 is None:
        return f"no verdict: {_ENDS[result.end]}pairs of blocks: {len(result.pairs)} of {LOOKS[0][0]} that are needed"
    if low1.sure:
        return f"with scx_gamer: 1 % low {change(low1)}, sure{'' if low1.low > 0 else ': worse'}"
    seen = _percent(half_width(low1)).lstrip("+")
    return f"no difference found; smallest that would have been seen: {seen} %"


def lines(result: Result, source: str) -> list[str]:
    """Return the verdict and the facts below it."""
    found = [verdict(result)]
    if result.low1 is not None and result.mean is not None:
        if not result.low1.sure:
            found.append(f"1 % low {change(result.low1)}")
        found.append(f"mean {change(result.mean)}")
    if result.pairs:
        without, with_ = ([pair[side].low1_fps for pair in result.pairs] for side in (0, 1))
        found.append(
            f"medians of 1 % low: without {median(without):.1f} fps, with {median(with_):.1f} fps,"
            f" {len(result.pairs)} pairs of blocks, frames from {source or 'no source'}"
        )
    if any(result.discarded):
        found.append(
            "left out because no frame came for a second:"
            f" {result.discarded[0]} blocks without, {result.discarded[1]} with"
        )
    if chance(*result.discarded) < CHANCE:
        found.append(
            "note: that is too uneven for loading screens alone; the game stalls more on one side"
        )
    return found


def as_json(result: Result, source: str) -> dict[str, Any]:
    """Return everything measured."""
    return {
        "schema": 1,
        "verdict": verdict(result),
        "sure": result.low1 is not None and result.low1.sure,
        "end": str(result.end),
        "low1_change": _bounds(result.low1),
        "mean_change": _bounds(result.mean),
        "pairs": [{"without": asdict(a), "with": asdict(b)} for a, b in result.pairs],
        "discarded": dict(zip(("without", "with"), result.discarded, strict=True)),
        "source": source,
    }


def chance(one: int, other: int) -> float:
    """Return the probability that a fair coin divides as unevenly."""
    total, less = one + other, min(one, other)
    return min(1.0, 2 * sum(comb(total, i) for i in range(less + 1)) * 0.5**total)


def change(change: Interval) -> str:
    """Return a change and its interval in percent."""
    low, high = (_percent(value).removeprefix("+") for value in (change.low, change.high))
    return f"{_percent(change.middle)} % ({low} to {high})"


def _percent(share: float) -> str:
    """Format a share as signed percent, with a digit after the point where the whole number says little."""
    return f"{100 * share:+.{0 if abs(share) >= 0.0195 else 1}f}"


def _bounds(change: Interval | None) -> list[float] | None:
    return None if change is None else [change.low, change.middle, change.high]
