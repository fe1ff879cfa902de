# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheduler's histograms of times: bucket i counts times below 2^i microseconds."""

from __future__ import annotations

from collections.abc import Sequence


def percentile_us(counts: Sequence[int], share: float) -> float:
    """Return the upper end of the percentile's bucket, in microseconds; 0 without counts."""
    total = sum(counts)
    seen = 0
    for number, count in enumerate(counts):
        seen += count
        if count and seen >= share * total:
            return float(1 << number)
    return 0.0
