# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions of tuning games whose best setting is known: what is found, what is not, and what is rolled back."""

from __future__ import annotations

import pytest

from scx_gamer.bench.verdict import Interval
from scx_gamer.compare.blocks import ERROR, Result
from scx_gamer.compare.live import TrialFailedError
from scx_gamer.frames.model import Frame
from scx_gamer.tune.course import ROUNDS, WORSE, Arm, Course, Kept, trials
from tests.unit.compare.synthetic import PLAN, SECOND
from tests.unit.tune.synthetic import DEFAULTS, Player, TunableGame

SESSIONS = 200
AT_MOST = 10  # sessions in which a better setting is found

LIMITS = {
    "slice_us": (500, 20000),
    "home": (0, 1),
    "bg_delay_ms": (0, 70),
    "boost_mouse_ms": (0, 2000),
}


def kept(value: int = 5, before: int = 10) -> Kept:
    change = Interval(0.2, 0.1, 0.3)
    return Kept(value, before, change, 14, "2026-01-01", "2026-01-02", "7.2", "build 1", "1.0")


def test_a_better_setting_is_found_in_ten_sessions() -> None:
    found: list[int] = []
    for game in range(10):
        player = Player({("t3", 5): 0.25}, 1000 * game)
        while "t3" not in player.course.kept and len(found) <= game:
            player.play()
            assert player.seed - 1000 * game <= AT_MOST, player.said
        assert set(player.course.kept) == {"t3"}
        found.append(player.seed - 1000 * game)
    print(f"found after {sorted(found)} sessions")


def test_where_nothing_is_better_nothing_is_adopted() -> None:
    adopted = sessions = game = 0
    while sessions < SESSIONS:
        game += 1
        player = Player({}, 1000 * game)
        while not player.course.done and sessions < SESSIONS:
            before = dict(player.course.kept)
            player.play()
            sessions += 1
            adopted += player.course.kept != before
    print(f"adopted in {adopted} of {sessions} sessions, {game} games")
    assert adopted <= ERROR * SESSIONS
    assert game >= 10  # rounds came to their end


class Timed(TunableGame):
    """Counts the time in which a setting holds."""

    harmed_ns = 0

    def wait(self, seconds: float) -> None:
        before = self.now_ns()
        super().wait(seconds)
        if self._effect < 0:
            self.harmed_ns += self.now_ns() - before


def test_a_setting_that_does_harm_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    games: list[Timed] = []

    def made(*args: object) -> Timed:
        games.append(Timed(*args))  # type: ignore[arg-type]
        return games[-1]

    monkeypatch.setattr("tests.unit.tune.synthetic.TunableGame", made)
    player = Player({("t1", 5): -0.5}, 7)
    player.play()
    assert "t1 = 5 is out: it does harm" in player.said
    assert "t1" not in {arm.name for arm in player.course.arms}
    harmed_s = sum(game.harmed_ns for game in games) / SECOND
    print(f"harmed for {harmed_s:.0f} s of {PLAN.time_s:.0f}")
    assert harmed_s < WORSE * PLAN.longest_s  # whole blocks of it would be twice that at the least


class Failing(TunableGame):
    """The scheduler ends under one setting, by far the best until then."""

    def read(self) -> list[Frame]:
        if self._effect > 1:
            raise TrialFailedError(self.trial)
        return super().read()


def test_a_setting_under_which_the_scheduler_fails_is_tried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.unit.tune.synthetic.TunableGame", Failing)
    player = Player({("t1", 5): 2.0}, 9)
    failures = 0
    while not player.course.done:
        try:
            player.play()
        except TrialFailedError:
            failures += 1
            assert failures == 1
    assert player.course.failed == [("t1", 5)]
    assert player.said.count("t1 = 5 is out: it does harm") == ROUNDS
    assert not player.course.kept

    course = Course("7.2", "build 1", kept={"t1": kept(10, 5)}, lost=ROUNDS)
    player = Player({("t1", 5): 2.0}, 9, course=course)
    course.check_again()
    with pytest.raises(TrialFailedError):
        player.play()
    while course.checks:
        player.play()
    assert course.kept == {"t1": kept(10, 5)}
    assert player.said == ["t1 = 10 stays: 5 is not surely better"]
    course.try_again("7.3", "build 1")
    assert not course.failed


def test_a_regression_is_rolled_back_and_told() -> None:
    course = Course("7.2", "build 1", kept={"t2": kept()}, lost=ROUNDS)
    player = Player({("t2", 10): 0.4}, 11, course=course)
    course.try_again("7.3", "build 1")
    while course.checks:
        player.play()
        assert player.seed < 11 + 4, player.said
    assert not course.kept
    assert player.said[0].startswith("t2 = 5 is rolled back to 10, which is better now: 1 % low +")


def test_a_setting_that_is_still_better_stays() -> None:
    course = Course("7.2", "build 1", kept={"t2": kept()}, lost=ROUNDS)
    player = Player({("t2", 5): 0.3}, 12, course=course)
    course.check_again()
    while not course.done:
        player.play()
        assert player.seed < 12 + 4, player.said
    assert course.kept == {"t2": kept()}
    assert player.said == ["t2 = 5 stays: 10 is not surely better"]


def test_what_is_tried_comes_from_the_limits() -> None:
    now = {"slice_us": 3000, "home": 1, "bg_delay_ms": 60, "boost_mouse_ms": 50}
    found = {(arm.name, arm.value) for arm in trials(now, now, LIMITS)}
    assert found == {
        ("slice_us", 1500), ("slice_us", 6000), ("home", 0), ("bg_delay_ms", 30), ("bg_delay_ms", 70),
    }  # fmt: skip
    tuned = {(arm.name, arm.value) for arm in trials({**now, "slice_us": 20000}, now, LIMITS)}
    assert {value for name, value in tuned if name == "slice_us"} == {10000, 3000}


def test_a_trial_under_which_the_game_stalls_is_over() -> None:
    assert not Arm("a", 1, discarded=[3, 5]).over
    assert not Arm("a", 1, discarded=[9, 0]).over
    assert Arm("a", 1, discarded=[0, 8]).over
    assert Arm("a", 1, worse=WORSE).over


def test_another_version_begins_anew_with_a_check() -> None:
    course = Course("7.2", "1", kept={"t2": kept()}, arms=[Arm("t1", 5, [0.1])], rung=2, lost=1)
    course.try_again("7.3", "1")
    assert (course.arms, course.rung, course.lost, course.checks) == ([], 0, 0, ["t2"])
    assert course.result == Result()
    assert not course.done
    assert set(DEFAULTS) >= set(course.checks)
