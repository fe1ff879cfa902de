# SPDX-License-Identifier: GPL-2.0-or-later
"""The course of tuning a game over its sessions: what is tried next, and what is kept.

A round is successive halving (Karnin, Koren, Somekh 2013) followed by a proof. All trials get some pairs of blocks, the
worse half leaves, and so on until one is left. That one is the best of many, so its figures are too good. It is proved
with pairs of its own, by the looks of `compare`: the probability that a trial which is no better is kept is half of
ERROR, because only one side of its interval counts. A course ends after ROUNDS rounds without a find: together ERROR.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from scx_gamer.bench.verdict import Interval
from scx_gamer.compare.blocks import Block, Pairs, Plan, Result, Stage, block_of, decide
from scx_gamer.compare.live import TrialFailedError
from scx_gamer.compare.words import CHANCE, chance, change

# Pairs that each trial gets before the next halving; the last one again and again.
RUNGS = (4, 6, 8)
ROUNDS = 2
# A block of a trial ends when it is worse than the last block without by more than one of these. It is the setting if
# a block without, at once, is better by as much again, else the scene. After WORSE such blocks the trial is over.
SLOWER, LOWER, WORSE = 0.25, 0.5, 2
INPUT = "boost_"  # windows after input, whose use frames do not tell: never tried


class TrialStage(Stage, Protocol):
    """A stage whose side with is the tunables of `trial`."""

    trial: Mapping[str, int]


@dataclass
class Arm:
    """A trial: a tunable, its value, the log ratios of its pairs, its discarded blocks, its clearly worse ones."""

    name: str
    value: int
    logs: list[float] = field(default_factory=list)
    discarded: list[int] = field(default_factory=lambda: [0, 0])
    worse: int = 0

    @property
    def over(self) -> bool:
        """True if it does harm, or if the game stalls more under it than chance explains."""
        without, with_ = self.discarded
        return self.worse >= WORSE or (with_ > without and chance(without, with_) < CHANCE)


@dataclass(frozen=True)
class Kept:
    """A setting that won, the value before it, and the evidence. Dates as ISO 8601."""

    value: int
    before: int
    change: Interval
    pairs: int
    since: str
    until: str
    kernel: str
    game: str
    version: str  # of scx_gamer


@dataclass
class Course:
    """The state of a game's tuning, as it is kept from session to session."""

    kernel: str
    game: str  # version of the game
    kept: dict[str, Kept] = field(default_factory=dict)
    arms: list[Arm] = field(default_factory=list)  # of the round; one alone is being proved
    rung: int = 0
    result: Result = field(default_factory=Result)  # of the proof or the check
    checks: list[str] = field(default_factory=list)  # kept settings to be checked
    lost: int = 0  # rounds without a find
    began: str = ""  # date of the first pair of `result`
    checked: str = ""  # date of the last check, or of the end of the last round
    failed: list[tuple[str, int]] = field(default_factory=list)  # the scheduler ended under them

    @property
    def done(self) -> bool:
        return self.lost >= ROUNDS and not self.checks

    def try_again(self, kernel: str, game: str) -> None:
        """Begin anew with other versions: the kept settings are checked, then everything is tried."""
        self.kernel, self.game = kernel, game
        self.lost, self.failed = 0, []
        self.check_again()

    def check_again(self) -> None:
        """Check what is kept."""
        self.arms, self.rung, self.result = [], 0, Result()
        self.checks = sorted(self.kept)


def trials(
    values: Mapping[str, int], defaults: Mapping[str, int], limits: Mapping[str, tuple[int, int]]
) -> Iterator[Arm]:
    """Yield what can be tried beside `values`: the other side of a switch; the half, the double, the default."""
    for name, (low, high) in sorted(limits.items()):
        if name.startswith(INPUT):
            continue
        now = values[name]
        wanted = {0, 1} if (low, high) == (0, 1) else {now // 2, 2 * now, defaults[name]}
        for value in sorted({min(max(value, low), high) for value in wanted} - {now}):
            yield Arm(name, value)


def is_worse(block: Block, than: Block) -> bool:
    """Return True if a block is clearly worse than another."""
    return block.mean_fps < (1 - SLOWER) * than.mean_fps or (
        block.low1_fps < (1 - LOWER) * than.low1_fps
    )


class OverError(Exception):
    """The arm of a trial is over."""


class Trials(Pairs):
    """Pairs of blocks without and with the trial of an arm, whose side with ends as soon as it is clearly worse."""

    arm: Arm
    before_pair: Callable[[], None]
    _usual: Block | None = None  # the last block without

    def pair(self, number: int, discarded: list[int]) -> tuple[Block, Block]:
        """Return a pair of whole blocks, or one whose side with ended early. Raises OverError after too many."""
        self.before_pair()
        arm, shortest_s = self.arm, self.plan.shortest_s
        if arm.over:
            raise OverError
        if self._usual is None:
            self._usual = self._side(False, number, shortest_s, arm.discarded)
        while True:
            seconds = self._random.uniform(shortest_s, self.plan.longest_s)
            found: dict[bool, Block] = {}
            for with_ in self._random.sample((False, True), 2):
                usual = self._usual
                found[with_] = self._side(
                    with_, number, seconds, discarded,
                    lambda times: with_ and is_worse(block_of(times), usual),  # noqa: B023
                )  # fmt: skip
                if not with_:
                    self._usual = found[False]
                elif is_worse(found[True], usual):
                    self._usual = self._side(False, number, shortest_s, discarded)
                    if not is_worse(found[True], self._usual):
                        self._progress(f"pair {number}: once more, the scene is another one")
                        break
                    self._progress(f"pair {number}: {arm.name} = {arm.value} is clearly worse")
                    arm.worse += 1
                    return self._usual, found[True]
            else:
                return found[False], found[True]


class Tuner:
    """One session of a course. The course is valid whenever run() ends, by an exception too."""

    def __init__(
        self,
        course: Course,
        stage: TrialStage,
        plan: Plan,
        seed: int,
        values: Mapping[str, int],
        arms: Callable[[Mapping[str, int]], list[Arm]],
        save: Callable[[], None],
        today: str,
        version: str,
        say: Callable[[str], None] = lambda _line: None,
        progress: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """`values` are the tunables in force; `arms` returns what can be tried beside some.

        `save` keeps the course, and puts its kept settings in force. `say` is called with each decision, `progress`
        with each block.
        """
        self._course, self._stage = course, stage
        self._random = random.Random(seed)
        self._values, self._arms, self._save, self._say = dict(values), arms, save, say
        self._today, self._version = today, version
        self._trials = Trials(stage, plan, self._random.randrange(1 << 32), progress)
        self._trials.before_pair = save

    def run(self) -> None:
        """Go on until nothing is left to try. Raises TimeOverError, and what the stage and `save` raise."""
        try:
            while not self._course.done:
                self._step()
        except TrialFailedError as err:
            self._course.failed += err.trial.items()
            raise
        finally:
            self._save()

    def _step(self) -> None:
        course = self._course
        if course.checks:
            self._check(course.checks[0])
        elif not course.arms:
            course.arms, course.rung = self._arms(self._values), 0
            if not course.arms:
                course.lost = ROUNDS
        elif len(course.arms) > 1:
            self._race()
        else:
            self._prove(course.arms[0])

    def _take(self, arm: Arm) -> None:
        if (arm.name, arm.value) in self._course.failed:
            arm.worse = WORSE
        self._trials.arm = arm
        self._stage.trial = {arm.name: arm.value}

    def _race(self) -> None:
        """Give a pair to an arm that has fewest of them, or halve the field."""
        course = self._course
        fewest = min(len(arm.logs) for arm in course.arms)
        if fewest >= sum(RUNGS[min(n, len(RUNGS) - 1)] for n in range(course.rung + 1)):
            best = sorted(course.arms, key=lambda arm: median(arm.logs), reverse=True)
            course.arms = best[: (len(best) + 1) // 2]
            course.rung += 1
            self._say(f"{len(course.arms)} of {len(best)} settings are left")
            if len(course.arms) == 1 and median(best[0].logs) <= 0:
                self._lose(f"none of them looks better, {_named(best[0])} least bad")
            return
        arm = self._random.choice([arm for arm in course.arms if len(arm.logs) == fewest])
        self._take(arm)
        try:
            without, with_ = self._trials.pair(fewest + 1, arm.discarded)
            arm.logs.append(math.log(with_.low1_fps / without.low1_fps))
        except OverError:
            course.arms.remove(arm)
            self._say(f"{_named(arm)} is out: it does harm")
            if not course.arms:
                self._lose("every setting does harm")

    def _prove(self, arm: Arm) -> None:
        """Keep the last arm if it wins surely."""
        won, why = self._decide(arm)
        if won is None:
            self._lose(f"{_named(arm)} is not surely better: {why}")
            return
        course, result = self._course, self._course.result
        before = course.kept.get(arm.name)
        course.kept[arm.name] = Kept(
            arm.value, before.before if before else self._values[arm.name], won, len(result.pairs),
            course.began, self._today, course.kernel, course.game, self._version,
        )  # fmt: skip
        self._values[arm.name] = arm.value
        self._say(f"{_named(arm)} is kept: {why}")
        self._end_round(lost=0)

    def _check(self, name: str) -> None:
        """Roll a kept setting back if the value before it wins surely now."""
        course = self._course
        arm = Arm(name, course.kept[name].before)
        won, why = self._decide(arm)
        if won is not None:
            value = course.kept.pop(name).value
            self._say(f"{name} = {value} is rolled back to {arm.value}, which is better now: {why}")
            course.lost = 0
            self._values[name] = arm.value
        else:
            self._say(f"{name} = {course.kept[name].value} stays: {arm.value} is not surely better")
        course.checks.remove(name)
        course.result, course.began, course.checked = Result(), "", self._today

    def _decide(self, arm: Arm) -> tuple[Interval | None, str]:
        """Return the change of 1 % low that an arm surely makes for the better, None without, and the reason."""
        course, result = self._course, self._course.result
        result.discarded = arm.discarded
        course.began = course.began or self._today
        self._take(arm)
        try:
            decide(result, self._trials)
        except OverError:
            return None, "it does harm"
        low1 = result.low1
        assert low1 is not None  # a look was spent
        why = f"1 % low {change(low1)} in {len(result.pairs)} pairs of blocks"
        return (low1 if low1.low > 0 else None), why

    def _lose(self, why: str) -> None:
        self._say(why)
        self._end_round(lost=self._course.lost + 1)

    def _end_round(self, lost: int) -> None:
        course = self._course
        course.arms, course.result, course.began, course.lost = [], Result(), "", lost
        course.checked = self._today


def _named(arm: Arm) -> str:
    return f"{arm.name} = {arm.value}"
