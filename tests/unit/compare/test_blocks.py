# SPDX-License-Identifier: GPL-2.0-or-later
"""Comparisons of games whose true effect is known: how often the interval holds it, and what breaks a block."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import pytest

from scx_gamer.bench.verdict import signed_rank
from scx_gamer.compare.blocks import ERROR, LOOKS, MIN_FRAMES, Comparison, End, Result
from scx_gamer.frames.model import Frame
from tests.unit.compare.synthetic import PLAN, SECOND, SyntheticGame

SESSIONS = 200


def sessions(effect: float) -> list[Result]:
    return [Comparison(SyntheticGame(n, effect), PLAN, 1000 + n).run() for n in range(SESSIONS)]


def holds(result: Result, effect: float) -> bool:
    return result.low1 is None or result.low1.low <= effect <= result.low1.high


def test_no_difference_is_found_where_there_is_none() -> None:
    found = sessions(0.0)
    wrong = sum(result.end is End.SURE or not holds(result, 0.0) for result in found)
    print(f"sure of nothing in {wrong} of {SESSIONS} sessions")
    assert wrong <= SESSIONS * ERROR
    assert sum(result.low1 is not None for result in found) == SESSIONS


def test_the_interval_holds_the_true_effect() -> None:
    found = sessions(0.2)
    held = sum(holds(result, 0.2) for result in found)
    sure = sum(result.low1 is not None and result.low1.low > 0 for result in found)
    pairs = median(len(result.pairs) for result in found)
    print(
        f"held in {held} of {SESSIONS} sessions, sure in {sure}, in {pairs:g} pairs at the median"
    )
    assert held >= SESSIONS * (1 - ERROR)
    assert sure >= SESSIONS * 0.85
    assert not any(result.low1 is not None and result.low1.high < 0 for result in found)


def misses(looks: tuple[tuple[int, float], ...], draw: Callable[[], float]) -> bool:
    """Return True if an interval of a comparison without an effect leaves 0 out at any look."""
    changes = [draw() for _ in range(looks[-1][0])]
    return any((i := signed_rank(changes[:n], error)) is not None and i.sure for n, error in looks)


@pytest.mark.parametrize("tail", ["normal", "heavy", "equal"])
def test_all_looks_together_spend_the_error_and_no_more(tail: str) -> None:
    generator = random.Random(11)
    draws: dict[str, Callable[[], float]] = {
        "normal": lambda: generator.gauss(0, 1),
        "heavy": lambda: generator.gauss(0, 1) / generator.gauss(0, 1),
        "equal": lambda: generator.choice((-1.0, 1.0)),
    }
    wrong = sum(misses(LOOKS, draws[tail]) for _ in range(600)) / 600
    assert wrong <= ERROR
    assert sum(error for _, error in LOOKS) <= ERROR


def test_a_look_at_every_pair_would_be_wrong_too_often() -> None:
    generator = random.Random(12)
    every = tuple((n, ERROR) for n in range(7, 29))
    wrong = sum(misses(every, lambda: generator.gauss(0, 1)) for _ in range(300)) / 300
    assert wrong > 2 * ERROR


def test_the_interval_is_the_one_of_the_tables() -> None:
    """Critical values of the signed-rank test, two-sided (Wilcoxon 1945): n = 6, 5 %: 0; n = 10, 5 %: 8, 1 %: 3."""
    assert signed_rank([1.0] * 5, 0.05) is None
    assert signed_rank([], 0.05) is None
    values = [float(2**i) for i in range(10)]
    means = sorted((a + b) / 2 for i, a in enumerate(values) for b in values[i:])
    for error, critical in ((0.05, 8), (0.01, 3)):
        found = signed_rank(values, error)
        assert found is not None
        assert (found.low, found.high) == (means[critical], means[-1 - critical])
    six = signed_rank([1.0, 2, 3, 4, 5, 6], 0.05)
    assert six is not None
    assert (six.low, six.middle, six.high) == (1.0, 3.5, 6.0)


def test_the_order_in_a_pair_is_random_and_repeats_with_the_seed() -> None:
    orders = []
    for seed in (1, 1, 2):
        game = SyntheticGame(3, 0.0)
        Comparison(game, PLAN, seed).run()
        orders.append(game.switches)
        pairs = list(zip(game.switches[::2], game.switches[1::2], strict=False))
        assert set(pairs) == {(False, True), (True, False)}
    assert orders[0] == orders[1] != orders[2]


def test_a_loading_screen_breaks_the_block() -> None:
    game = SyntheticGame(4, 0.0)
    result = Comparison(game, PLAN, 1).run()
    assert game.loading_screens >= sum(result.discarded) > 0


class Stops(SyntheticGame):
    """Shows no frame any more after a time."""

    def read(self) -> list[Frame]:
        frames = super().read()
        return frames if self.now_ns() < 60 * SECOND else []


def test_without_frames_there_is_no_block_but_an_end() -> None:
    result = Comparison(Stops(5, 0.0, loading=0.0), PLAN, 1).run()
    assert result.end is End.TIME
    assert len(result.pairs) <= 2
    assert result.low1 is None


class OtherSource(SyntheticGame):
    """Another source tells the frames, once, in the middle of a block."""

    told = False

    def read(self) -> list[Frame] | None:  # type: ignore[override]
        frames = super().read()
        if not self.told and self.now_ns() > 10 * SECOND:
            self.told = True
            return None
        return frames


def test_frames_of_two_sources_make_no_block() -> None:
    plan = replace(PLAN, time_s=60)
    kept, broken = (
        Comparison(kind(6, 0.0, loading=0.0), plan, 2).run()
        for kind in (SyntheticGame, OtherSource)
    )
    assert sum(kept.discarded) == 0
    assert sum(broken.discarded) == 1


def test_a_block_lasts_until_it_has_a_hundredth() -> None:
    """A block that were thrown away for its slowness would be one side's, and its loss the other side's gain."""
    game = SyntheticGame(7, 0.0, loading=0.0)
    plan = replace(PLAN, shortest_s=1, longest_s=1, time_s=60)
    result = Comparison(game, plan, 1).run()
    assert result.discarded == [0, 0]
    frames = [block.frames for pair in result.pairs for block in pair]
    assert len(frames) >= 8
    assert min(frames) >= MIN_FRAMES


def test_the_end_of_the_time_spends_one_look_for_the_pairs_that_are_there() -> None:
    result = Comparison(SyntheticGame(8, 0.0), replace(PLAN, time_s=260), 1).run()
    assert result.end is End.TIME
    assert LOOKS[0][0] < len(result.pairs) < LOOKS[1][0]
    assert result.looks == 2
    assert result.low1 is not None
    early = Comparison(SyntheticGame(8, 0.0), replace(PLAN, time_s=100), 1).run()
    assert early.low1 is None
    assert 0 < len(early.pairs) < LOOKS[0][0]


class Interrupted(SyntheticGame):
    def switch(self, with_: bool, pair: int) -> None:
        if pair == LOOKS[0][0] + 2:
            raise KeyboardInterrupt
        super().switch(with_, pair)


def test_an_interruption_leaves_the_interval_of_the_last_look() -> None:
    comparison = Comparison(Interrupted(9, 0.0), PLAN, 1)
    with pytest.raises(KeyboardInterrupt):
        comparison.run()
    result = comparison.result
    assert result.end is End.INTERRUPTED
    assert result.looks == 1
    assert len(result.pairs) == LOOKS[0][0] + 1
    logs = Result(pairs=result.pairs[: LOOKS[0][0]])
    logs.look()
    assert result.low1 == logs.low1
