# SPDX-License-Identifier: GPL-2.0-or-later
"""Statistics of paired runs without and with the scheduler: intervals, noise, and a verdict in one line."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import median

DRAWS = 4000
CONFIDENCE = 0.95
MIN_PAIRS = 5
_NOISE_QUANTILE = 0.9


@dataclass(frozen=True)
class Interval:
    """The median of paired differences, relative to the value without, and its bootstrap interval."""

    middle: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """True if the interval excludes 0."""
        return self.low > 0 or self.high < 0


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value with at least this share of all at or below it. Raises ValueError for no values."""
    if not values:
        raise ValueError("quantile of no values")
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * round(share * 1_000_000) // 1_000_000))
    return ordered[rank - 1]


def paired(without: Sequence[float], with_: Sequence[float], seed: int = 1) -> Interval:
    """Bootstrap the median of the relative changes of pairs. Raises ValueError for unpaired or no values."""
    if len(without) != len(with_) or not without:
        raise ValueError("the numbers of values without and with differ, or are 0")
    changes = [(b - a) / abs(a) if a else 0.0 for a, b in zip(without, with_, strict=True)]
    return _bootstrap(lambda draw: median([changes[i] for i in draw]), len(changes), seed)


def _bootstrap(figure: Callable[[Sequence[int]], float], count: int, seed: int) -> Interval:
    generator = random.Random(seed)  # seeded: the same result for the same data
    draws = sorted(figure([generator.randrange(count) for _ in range(count)]) for _ in range(DRAWS))
    tail = (1 - CONFIDENCE) / 2
    return Interval(figure(range(count)), quantile(draws, tail), quantile(draws, 1 - tail))


def signed_rank(changes: Sequence[float], error: float) -> Interval | None:
    """Return the Hodges-Lehmann median of changes, and the interval of Wilcoxon's signed-rank test.

    The interval misses the true change with a probability of at most `error`, exactly and for any number of changes, if
    each change is as likely to be above the true one as below it by the same amount. A random order in each pair makes
    that so, whatever the distribution, the drift and the correlation of the values. A bootstrap of few pairs misses it
    more often. None for fewer changes than `error` needs.
    """
    means = sorted((a + b) / 2 for i, a in enumerate(changes) for b in changes[i:])
    ways = [1]  # number of sets of ranks by their sum
    for rank in range(1, len(changes) + 1):
        ways = [
            (ways[i] if i < len(ways) else 0) + (ways[i - rank] if i >= rank else 0)
            for i in range(len(ways) + rank)
        ]
    tails = accumulate(ways)  # of the distribution of the rank sum without a change
    outside = sum(tail <= error / 2 * 2 ** len(changes) for tail in tails)
    if not outside:
        return None
    return Interval(median(means), means[outside - 1], means[-outside])


def noise_of(values: Sequence[float]) -> float:
    """Return the noise of equal runs: the 90th percentile of the relative differences of neighbours.

    Raises ValueError for fewer than two runs.
    """
    if len(values) < 2:
        raise ValueError("noise needs two runs")
    apart = [abs(b - a) / max(abs(a), abs(b)) if a or b else 0.0 for a, b in pairwise(values)]
    return quantile(apart, _NOISE_QUANTILE)


@dataclass(frozen=True)
class Verdict:
    """The comparison of a figure under a load."""

    load: str
    figure: str
    unit: str
    without: float
    with_: float
    change: Interval
    noise: float
    pairs: int
    larger_is_better: bool

    @property
    def word(self) -> str:
        """`sure`, `not sure`, `no difference…`, or the reason why there is no verdict."""
        if self.pairs < MIN_PAIRS:
            return f"no verdict: {self.pairs} pairs, {MIN_PAIRS} are needed"
        if abs(self.change.middle) <= self.noise:
            return f"no difference beyond this machine's noise of {self.noise:.0%}"
        return "sure" if self.change.sure else "not sure"

    @property
    def better(self) -> bool:
        """True if the change is sure and an improvement."""
        return self.word == "sure" and (self.change.middle > 0) == self.larger_is_better

    def __str__(self) -> str:
        side = "" if self.word != "sure" else ", better" if self.better else ", worse"
        digits = 1 if max(abs(self.without), abs(self.with_)) < 100 else 0
        return (
            f"with {self.load}: {self.figure} {self.without:.{digits}f} -> {self.with_:.{digits}f}"
            f" {self.unit}, {self.change.middle:+.0%} [{self.change.low:+.0%} {self.change.high:+.0%}]"
            f"{side}: {self.word}"
        )


def judge(
    load: str, figure: str, unit: str, without: Sequence[float], with_: Sequence[float], *,
    larger_is_better: bool,
) -> Verdict:  # fmt: skip
    """Return the verdict of paired runs. The noise is that of the runs without."""
    return Verdict(
        load, figure, unit, median(without), median(with_), paired(without, with_),
        noise_of(without) if len(without) > 1 else 1.0, len(without), larger_is_better,
    )  # fmt: skip
