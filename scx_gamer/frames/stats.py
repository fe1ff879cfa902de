# SPDX-License-Identifier: GPL-2.0-or-later
"""Statistics of frame times: a histogram with fixed bounds, of the same size for a second and for a day."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from scx_gamer.frames.model import Frame

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import FrameBuckets

NS_PER_S = 1_000_000_000
_STEPS = 16  # buckets an octave: neighbouring bounds are 4.4 % apart
_OCTAVES = 12
_FIRST_NS = 500_000
_COARSE = 4  # bounds of a histogram of the metrics are so many apart: 19 %
# Upper bounds of the buckets, from 0.5 ms to 2 s; the last bucket, after them, has none.
BOUNDS_NS: tuple[int, ...] = tuple(
    round(_FIRST_NS * 2 ** (i / _STEPS)) for i in range(_STEPS * _OCTAVES + 1)
)
MISSED = 1.5  # times the target: the next refresh after the one that was meant


def _slowest(count: int, share: float) -> int:
    """Return how many frames a share is, rounded up as MangoHud's summaries and the workload do."""
    return max(1, -(-count * round(share * 1_000_000) // 1_000_000))


def low_fps(times_ms: Sequence[float], share: float = 0.01) -> float:
    """Return the mean frame rate of the slowest `share` of frames whose times are all known."""
    worst = sorted(times_ms)[-_slowest(len(times_ms), share) :]
    return 1000 * len(worst) / sum(worst)


class FrameStats:
    """Counts and sums of frame times by bucket. Figures are 0 without frames."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_NS) + 1)
        self.sums_ns = [0] * (len(BOUNDS_NS) + 1)
        self.longest_ns = 0

    def add(self, frames: Iterable[Frame]) -> None:
        """Count frames."""
        for _, took_ns in frames:
            bucket = bisect_left(BOUNDS_NS, took_ns)
            self.counts[bucket] += 1
            self.sums_ns[bucket] += took_ns
            self.longest_ns = max(self.longest_ns, took_ns)

    def merge(self, other: FrameStats) -> None:
        """Count the frames of `other` too."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.sums_ns = [a + b for a, b in zip(self.sums_ns, other.sums_ns, strict=True)]
        self.longest_ns = max(self.longest_ns, other.longest_ns)

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def total_ns(self) -> int:
        return sum(self.sums_ns)

    @property
    def mean_fps(self) -> float:
        total = self.total_ns
        return self.count * NS_PER_S / total if total else 0.0

    def low_fps(self, share: float = 0.01) -> float:
        """Return the mean frame rate of the slowest `share`, a part of a bucket as that of its mean."""
        left = wanted = _slowest(self.count, share)
        total = 0.0
        for count, sum_ns in zip(reversed(self.counts), reversed(self.sums_ns), strict=True):
            taken = min(left, count)
            total += sum_ns * taken / count if count else 0
            left -= taken
            if not left:
                break
        return wanted * NS_PER_S / total if total else 0.0

    def quantile_ns(self, share: float) -> int:
        """Return a time that at least `share` of the frames did not exceed: a bound, or the longest frame."""
        wanted = self.count * share
        for bucket, seen in enumerate(accumulate(self.counts)):
            if seen and seen >= wanted:
                return min(self.longest_ns, (*BOUNDS_NS, self.longest_ns)[bucket])
        return 0

    def missed(self, target_ns: int) -> int:
        """Return the frames that took at least MISSED times the target, which the next bound above rounds up."""
        return sum(self.counts[bisect_left(BOUNDS_NS, int(target_ns * MISSED)) + 1 :])

    def cumulative(self, source: str) -> FrameBuckets:
        """Return counts up to every fourth bound, as histograms of Prometheus have them."""
        seen = list(accumulate(self.counts))
        return {
            "source": source,
            "at_most": {
                repr(BOUNDS_NS[i] / NS_PER_S): seen[i] for i in range(0, len(BOUNDS_NS), _COARSE)
            },
            "count": seen[-1],
            "sum_ns": self.total_ns,
        }
