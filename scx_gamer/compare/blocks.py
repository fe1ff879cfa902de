# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairs of blocks of frames, one without and one with the scheduler, until an interval decides or the time is over.

Each pair has a random order, so that scenes, drift and autocorrelation are as likely to favour one side as the other:
this alone makes the interval of `signed_rank` exact. A look at the result costs error, whether or not it ends the
comparison. So the numbers of pairs at which to look, and the error that each look may spend, are fixed before the first
block, and add up to ERROR: the probability that the interval of any look misses the true change.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Protocol

from scx_gamer.bench.verdict import Interval, signed_rank
from scx_gamer.frames.model import Frame
from scx_gamer.frames.stats import NS_PER_S, low_fps
from scx_gamer.system.errors import ScxGamerError

ERROR = 0.05
# Pairs at which to look, and the error of that look. Seven pairs is the least that can be sure at all, with a chance of
# two in 2^7 for no difference; the later looks share the rest.
LOOKS = ((7, 2**-6), (10, 0.0085), (14, 0.0085), (20, 0.0085), (28, 0.0085))
POLL_S = 1.0
LATE_NS = NS_PER_S  # frames may be reported so much later
MIN_FRAMES = 100  # of a block, which lasts so long: the slowest hundredth has to be one


class CompareError(ScxGamerError):
    """A comparison that cannot begin or go on: what failed, errno (0 if none), what to do."""


class End(StrEnum):
    """The reason for which a comparison ended."""

    SURE = "sure"
    NARROW = "narrow"
    PAIRS = "pairs"
    TIME = "time"
    INTERRUPTED = "interrupted"


class Stage(Protocol):
    """A game that is played, with a switch. Every method may raise CompareError."""

    def now_ns(self) -> int: ...

    def wait(self, seconds: float) -> None:
        """Let the game go on, and hold what the switch says."""
        ...

    def switch(self, with_: bool, pair: int) -> None:
        """Attach or detach the scheduler for a block of a pair; it is so when this returns."""
        ...

    def read(self) -> list[Frame] | None:
        """Return the frames since the last call, oldest first; None if other frames than before came."""
        ...


@dataclass(frozen=True)
class Plan:
    """Parameters of a comparison."""

    shortest_s: float = 30.0  # a block
    longest_s: float = 90.0
    settle_s: float = 3.0  # after a switch or a gap, not counted
    gap_s: float = 1.0  # a longer time without a frame is a loading screen
    time_s: float = 2700.0
    narrow: float = 0.02  # half the width of an interval that is narrow enough


@dataclass(frozen=True)
class Block:
    """The figures of a block, in frames per second."""

    frames: int
    mean_fps: float
    low1_fps: float


@dataclass
class Result:
    """The blocks so far, and the intervals of the last look: changes relative to without, None before a look."""

    pairs: list[tuple[Block, Block]] = field(default_factory=list)  # without, with
    discarded: list[int] = field(default_factory=lambda: [0, 0])  # blocks without, with
    looks: int = 0
    low1: Interval | None = None
    mean: Interval | None = None
    end: End = End.INTERRUPTED

    def look(self) -> None:
        """Spend the error of the next look."""
        _, error = LOOKS[self.looks]
        self.looks += 1
        self.low1 = self._interval(lambda b: b.low1_fps, error)
        self.mean = self._interval(lambda b: b.mean_fps, error)

    def _interval(self, figure: Callable[[Block], float], error: float) -> Interval | None:
        logs = [math.log(figure(b) / figure(a)) for a, b in self.pairs]
        found = signed_rank(logs, error)
        if found is None:
            return None
        return Interval(*(math.expm1(value) for value in (found.middle, found.low, found.high)))


class TimeOverError(Exception):
    """The time of the plan is over amid a block."""


class Pairs:
    """Measurement of pairs of blocks on a stage until the time of the plan is over."""

    def __init__(
        self,
        stage: Stage,
        plan: Plan,
        seed: int,
        progress: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """`progress` is called with a line for each block."""
        self._stage, self.plan = stage, plan
        self._random = random.Random(seed)
        self._progress = progress
        self._end_ns = stage.now_ns() + int(plan.time_s * NS_PER_S)
        self._last_ns = 0  # end of the last frame

    def pair(self, number: int, discarded: list[int]) -> tuple[Block, Block]:
        """Return the block without and the block with, both of one length. Count those that a gap broke.

        Raises TimeOverError, and what the stage raises.
        """
        seconds = self._random.uniform(self.plan.shortest_s, self.plan.longest_s)
        sides = [False, True]
        self._random.shuffle(sides)
        found = {with_: self._side(with_, number, seconds, discarded) for with_ in sides}
        return found[False], found[True]

    def _side(
        self,
        with_: bool,
        number: int,
        seconds: float,
        discarded: list[int],
        enough: Callable[[list[float]], bool] = lambda _times_ms: False,
    ) -> Block:
        self._stage.switch(with_, number)
        side = f"pair {number}, {'with' if with_ else 'without'}"
        self._progress(f"{side}: {seconds:.0f} s")
        while (block := self._block(seconds, enough)) is None:
            discarded[with_] += 1
            self._progress(f"{side}: once more, because no frame came for a while")
        return block

    def _block(self, seconds: float, enough: Callable[[list[float]], bool]) -> Block | None:
        """Return the block that begins once frames have come for a while, None if a gap broke it.

        It ends early when `enough` says so of the times of its frames in ms.
        """
        self._settle()
        begin_ns = self._stage.now_ns()
        end_ns = begin_ns + int(seconds * NS_PER_S)
        times_ms: list[float] = []
        while (left_ns := end_ns - self._stage.now_ns()) > 0 or len(times_ms) < MIN_FRAMES:
            frames = self._watch(min(POLL_S, left_ns / NS_PER_S) if left_ns > 0 else POLL_S)
            if frames is None:
                return None
            times_ms += [frame.took_ns / 1e6 for frame in frames if frame.end_ns > begin_ns]
            if len(times_ms) >= MIN_FRAMES and enough(times_ms):
                break
        return block_of(times_ms)

    def _settle(self) -> None:
        """Wait until frames came without a gap for the settling time; drop them."""
        self._stage.read()
        since_ns = self._last_ns = self._stage.now_ns()
        while self._stage.now_ns() - since_ns < self.plan.settle_s * NS_PER_S:
            if not self._watch(min(POLL_S, self.plan.settle_s)):
                since_ns = self._stage.now_ns()

    def _watch(self, seconds: float) -> list[Frame] | None:
        """Return the frames of the next seconds, None if one of them takes as long as a loading screen."""
        if self._stage.now_ns() >= self._end_ns:
            raise TimeOverError
        self._stage.wait(seconds)
        frames = self._stage.read()
        if frames is None:
            return None
        ends = [self._last_ns, *(frame.end_ns for frame in frames)]
        self._last_ns = ends[-1]
        gap_ns = self.plan.gap_s * NS_PER_S
        apart = [b - a for a, b in pairwise((*ends, self._stage.now_ns() - LATE_NS))]
        longest_ns = max(apart + [frame.took_ns for frame in frames])
        return None if longest_ns > gap_ns else frames


def block_of(times_ms: list[float]) -> Block:
    """Return the figures of frames that took these times."""
    return Block(len(times_ms), 1000 * len(times_ms) / sum(times_ms), low_fps(times_ms))


def decide(result: Result, pairs: Pairs) -> None:
    """Add pairs to a result, which may be one that was interrupted, until a look decides or all looks are spent.

    Raises what Pairs.pair() raises; `result` is valid then.
    """
    for count, _ in LOOKS[result.looks :]:
        while len(result.pairs) < count:
            result.pairs.append(pairs.pair(len(result.pairs) + 1, result.discarded))
        result.look()
        low1 = result.low1
        if low1 is not None and (low1.sure or half_width(low1) <= pairs.plan.narrow):
            result.end = End.SURE if low1.sure else End.NARROW
            return
    result.end = End.PAIRS


class Comparison(Pairs):
    """One comparison; `result` is valid whenever run() ends, by an exception too."""

    result: Result

    def run(self) -> Result:
        """Alternate until a look decides, or the pairs or the time are over. Raises what the stage raises."""
        result = self.result = Result()
        try:
            decide(result, self)
        except TimeOverError:
            # The look that these pairs were on their way to is now, and spends the error kept for it.
            if len(result.pairs) > (LOOKS[result.looks - 1][0] if result.looks else 0):
                result.look()
            result.end = End.TIME
        return result


def half_width(interval: Interval) -> float:
    return (interval.high - interval.low) / 2
