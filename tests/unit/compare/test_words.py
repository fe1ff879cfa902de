# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of a result, and the errors of the command, as a player reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.bench.verdict import Interval
from scx_gamer.cli import main, remote
from scx_gamer.compare.blocks import Block, End, Result
from scx_gamer.compare.words import as_json, chance, lines, verdict
from scx_gamer.control import ControlError
from scx_gamer.system.exit_codes import FAILED, INTERRUPTED, NO_PERMISSION, NOT_RUNNING, USAGE
from tests.unit.compare.synthetic import SyntheticGame

GAME = {
    "pid": 40,
    "main_pid": 42,
    "comm": "eldenring.exe",
    "name": "ELDEN RING",
    "app_id": "1245620",
    "active": True,
}


def result(low: float, middle: float, high: float, end: End = End.SURE) -> Result:
    pairs = [(Block(900, 60.0, 40.0 + i), Block(915, 61.0, 46.0 + i)) for i in range(7)]
    change = Interval(middle, low, high)
    return Result(pairs, low1=change, mean=Interval(0.004, -0.002, 0.011), end=end)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((0.09, 0.14, 0.19), "with scx_gamer: 1 % low +14 % (9 to 19), sure"),
        ((-0.09, -0.06, -0.03), "with scx_gamer: 1 % low -6 % (-9 to -3), sure: worse"),
        ((0.004, 0.012, 0.03), "with scx_gamer: 1 % low +1.2 % (0.4 to 3), sure"),
        ((-0.04, 0.0, 0.04), "no difference found; smallest that would have been seen: 4 %"),
        ((0.0, 0.0, 0.0), "no difference found; smallest that would have been seen: 0.0 %"),
    ],
)
def test_one_verdict(given: tuple[float, float, float], text: str) -> None:
    assert verdict(result(*given)) == text


def test_too_few_pairs_are_no_verdict() -> None:
    assert (
        verdict(Result(end=End.TIME))
        == "no verdict: the time is over; pairs of blocks: 0 of 7 that are needed"
    )
    few = Result([(Block(900, 60.0, 40.0), Block(900, 60.0, 41.0))])
    assert verdict(few) == "no verdict: interrupted; pairs of blocks: 1 of 7 that are needed"


def test_the_facts_below_the_verdict() -> None:
    assert lines(result(0.09, 0.14, 0.19), "mangohud") == [
        "with scx_gamer: 1 % low +14 % (9 to 19), sure",
        "mean +0.4 % (-0.2 to 1.1)",
        "medians of 1 % low: without 43.0 fps, with 49.0 fps, 7 pairs of blocks, frames from mangohud",
    ]
    stalls = result(-0.04, 0.01, 0.05, End.TIME)
    stalls.discarded = [12, 1]
    told = lines(stalls, "mangohud")
    assert told[1] == "1 % low +1.0 % (-4 to 5)"
    assert told[-2:] == [
        "left out because no frame came for a second: 12 blocks without, 1 with",
        "note: that is too uneven for loading screens alone; the game stalls more on one side",
    ]
    stalls.discarded = [3, 2]
    assert "too uneven" not in "".join(lines(stalls, "mangohud"))


def test_how_uneven_is_chance() -> None:
    assert chance(0, 0) == 1.0
    assert chance(4, 4) == 1.0
    assert chance(8, 0) == pytest.approx(2 / 256)


def test_the_json_is_complete() -> None:
    told = json.loads(json.dumps(as_json(result(0.09, 0.14, 0.19), "mangohud")))
    assert told["sure"] is True
    assert told["low1_change"] == [0.09, 0.14, 0.19]
    assert told["pairs"][0] == {
        "without": {"frames": 900, "mean_fps": 60.0, "low1_fps": 40.0},
        "with": {"frames": 915, "mean_fps": 61.0, "low1_fps": 46.0},
    }
    assert as_json(Result(), "")["low1_change"] is None


# ---- the command ----


class Answers:
    """A supervisor that knows one game and plays it: its frames come in virtual time."""

    def __init__(self, game: SyntheticGame, games: list[dict[str, Any]]) -> None:
        self.game, self.games = game, games
        self.fails: ControlError | None = None
        self.ended = 0

    def request(self, op: str, **args: Any) -> Any:
        if op == "games":
            return self.games
        if op == "compare_end":
            self.ended += 1
            return {}
        if self.fails is not None:
            raise self.fails
        if self.game.with_ == args["paused"]:
            self.game.switch(not args["paused"], args["pair"])
        return {"source": "mangohud", "frames": [list(frame) for frame in self.game.read()]}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    from scx_gamer.compare.live import LiveStage

    made = Answers(SyntheticGame(1, 0.4), [GAME])
    monkeypatch.setattr(remote, "request", made.request)
    monkeypatch.setattr(LiveStage, "now_ns", staticmethod(made.game.now_ns))
    monkeypatch.setattr(LiveStage, "wait", staticmethod(made.game.wait))
    return made


@pytest.mark.parametrize("words", [["--now"], ["elden"], ["40"], ["42"], ["1245620"]])
def test_a_game_is_compared(
    answers: Answers, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words, "--seconds", "6", "--minutes", "10"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("with scx_gamer: 1 % low +")
    assert told.out.splitlines()[0].endswith(", sure")
    assert told.err.startswith("scx-gamer: ELDEN RING: pair 1, with")
    assert answers.ended == 1


def test_an_interruption_restores_and_is_told(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scx_gamer.compare.live import LiveStage

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveStage, "wait", staticmethod(interrupted))
    assert main(["compare", "--now"]) == INTERRUPTED
    assert (
        capsys.readouterr().out
        == "no verdict: interrupted; pairs of blocks: 0 of 7 that are needed\n"
    )
    assert answers.ended == 1


def one_error(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr()
    assert not told.out
    assert told.err.count("\n") == 1
    return told.err


def test_each_reason_not_to_begin_is_one_line(
    answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare"]) == USAGE
    assert "--now" in one_error(capsys)
    assert main(["compare", "doom"]) == FAILED
    assert "no game 'doom' runs: see `scx-gamer games list`" in one_error(capsys)
    for error in (
        ControlError("no source tells the frames of this game; mangohud: no log", FAILED),
        ControlError("a game of another user runs: only root may compare then", NO_PERMISSION),
    ):
        answers.fails = error
        assert main(["compare", "--now"]) == error.code
        assert str(error) in one_error(capsys)
    answers.games.clear()
    assert main(["compare", "--now"]) == FAILED
    assert "no game runs" in one_error(capsys)


def test_without_a_supervisor_it_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCX_GAMER_RUNTIME_DIR", str(tmp_path))
    assert main(["compare", "--now"]) == NOT_RUNNING
    assert "the supervisor is not running" in one_error(capsys)
