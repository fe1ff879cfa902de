# SPDX-License-Identifier: GPL-2.0-or-later
"""The command, beside a supervisor that knows one game and plays it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.cli import main, remote
from scx_gamer.compare.live import LiveStage
from scx_gamer.control import ControlError
from scx_gamer.system.exit_codes import FAILED, INTERRUPTED, NO_PERMISSION, USAGE
from scx_gamer.tune.course import Course
from tests.unit.compare.test_words import GAME, one_error
from tests.unit.profiles.support import LIMITS, constants
from tests.unit.tune.synthetic import TunableGame

VALUES = {name: constants()[f"SCXG_DEF_{name.upper()}"] for name in LIMITS}
GAME = {**GAME, "main_pid": os.getpid()}


class Answers:
    """A supervisor, whose game is faster without the shield. Its profile is that of the drop-in."""

    def __init__(self, admin: Path) -> None:
        self.game = TunableGame(1, {("smt_isolate", 0): 0.5}, dict(VALUES))
        self.admin = admin
        self.chosen = "auto"
        self.values = dict(VALUES)
        self.ended = 0
        self.trials: list[Mapping[str, int]] = []
        self.fails: ControlError | None = None
        self.knows_trials = True

    def request(self, op: str, **args: Any) -> Any:
        if op == "games":
            return [GAME]
        if op == "status":
            kept = self.admin / "tuned-1245620.toml"
            active = kept.stem if kept.exists() else self.chosen
            return {"profile": {"active": active, "chosen": self.chosen, "tunables": self.values}}
        if op == "compare_end":
            self.ended += 1
            return {}
        if self.fails is not None:
            raise self.fails
        assert args["paused"] is False
        trial = args.get("trial", {})
        if trial != self.game.trial:
            self.trials.append(trial)
            self.game.trial = trial
            self.game.switch(True, args["pair"])
        answer = {"source": "mangohud", "frames": [list(frame) for frame in self.game.read()]}
        return {**answer, "trial": trial} if self.knows_trials else answer


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answers:
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"SCX_GAMER_{name}_DIR", str(tmp_path / name.lower()))
        (tmp_path / name.lower()).mkdir()
    made = Answers(tmp_path / "config/profiles")
    monkeypatch.setattr(remote, "request", made.request)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(LiveStage, "now_ns", staticmethod(made.game.now_ns))
    monkeypatch.setattr(LiveStage, "wait", staticmethod(made.game.wait))
    monkeypatch.setattr("secrets.randbits", lambda _bits: 1)
    return made


SHIELD = ["tune", "--now", "--only", "smt_isolate", "--seconds", "6"]


def test_a_setting_that_wins_is_kept_with_its_evidence(
    answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SHIELD, "--minutes", "6"]) == 0
    told = capsys.readouterr()
    first = told.out.splitlines()[0]
    assert first.startswith("smt_isolate = 0: 1 % low +")
    assert f"kernel {os.uname().release}" in first
    assert "smt_isolate = 0 is kept: 1 % low +" in told.err
    assert answers.ended == 1
    assert answers.trials[-1] == {} or answers.trials[-1] == {"smt_isolate": 1}
    assert main(["profiles", "show", "tuned-1245620"]) == 0
    shown = capsys.readouterr().out
    assert "tunables.smt_isolate = 0" in shown
    assert first.partition(": ")[2] in " ".join(shown.split())


def test_sessions_go_on_where_the_last_one_ended(
    answers: Answers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for minutes in ("1.5", "1.5"):
        assert main([*SHIELD, "--minutes", minutes, "--json"]) == 0
        assert not answers.admin.exists()
    found = json.loads((tmp_path / "state/tuning.json").read_text())
    pairs = len(found["games"]["appid 1245620"]["pairs"])
    assert 2 <= pairs < 7
    capsys.readouterr()
    assert main([*SHIELD, "--minutes", "6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kept"]["smt_isolate"]["value"] == 0
    assert told["game"] == "appid 1245620"


def test_an_interruption_ends_the_lease_and_keeps_the_pairs(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waits = 0

    def wait(seconds: float) -> None:
        nonlocal waits
        waits += 1
        if waits > 100:
            raise KeyboardInterrupt
        answers.game.wait(seconds)

    monkeypatch.setattr(LiveStage, "wait", staticmethod(wait))
    assert main(SHIELD) == INTERRUPTED
    assert answers.ended == 1
    found = json.loads((tmp_path / "state/tuning.json").read_text())
    assert found["games"]["appid 1245620"]["pairs"]
    assert not answers.admin.exists()


def test_a_setting_that_somebody_removed_is_forgotten(
    answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SHIELD, "--minutes", "6"]) == 0
    drop_in = answers.admin / "tuned-1245620.toml.d/90-tuned.toml"
    drop_in.unlink()
    capsys.readouterr()
    assert main([*SHIELD, "--minutes", "0.5"]) == 0
    told = capsys.readouterr()
    assert "smt_isolate was changed by somebody else, and is forgotten" in told.err
    assert "no setting is kept" in told.out
    assert not drop_in.exists()


def test_an_update_of_the_game_checks_what_is_kept(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SHIELD, "--minutes", "6"]) == 0
    answers.values["smt_isolate"] = answers.game._values["smt_isolate"] = 0
    monkeypatch.setattr("scx_gamer.tune.subject._file_version", lambda _path: "program of today")
    capsys.readouterr()
    checks: list[list[str]] = []
    again = Course.try_again

    def try_again(course: Course, kernel: str, game: str) -> None:
        again(course, kernel, game)
        checks.append(list(course.checks))

    monkeypatch.setattr(Course, "try_again", try_again)
    assert main([*SHIELD, "--minutes", "0.5"]) == 0
    assert checks == [["smt_isolate"]]
    told = capsys.readouterr()
    assert "program of today is new: what is kept is checked again" in told.err
    assert "to be checked: smt_isolate" in told.out


def test_a_supervisor_that_knows_no_trials_is_an_error(
    answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    answers.knows_trials = False
    assert main(SHIELD) == FAILED
    assert "restart it after the upgrade" in capsys.readouterr().err
    assert answers.ended == 1


def test_each_reason_not_to_begin_is_one_line(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune"]) == USAGE
    assert "--now" in one_error(capsys)
    assert main(["tune", "--now", "--wait"]) == USAGE
    assert "--wait takes the name of a game" in one_error(capsys)
    assert main(["tune", "--now", "--only", "hoem"]) == USAGE
    assert "no tunable hoem" in one_error(capsys)
    assert main(["tune", "doom"]) == FAILED
    assert "no game 'doom' runs" in one_error(capsys)
    answers.chosen = "powersave"
    assert main(["tune", "--now"]) == FAILED
    assert "profile powersave is for all games" in one_error(capsys)
    answers.chosen = "auto"
    answers.fails = ControlError("no source tells the frames of this game", FAILED)
    assert main(["tune", "--now"]) == FAILED
    assert "no source tells" in one_error(capsys)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["tune", "--now"]) == NO_PERMISSION
    assert "only root may try out settings" in one_error(capsys)


def test_it_waits_for_its_game_session_after_session(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The game comes after two looks, ends its session by an error, goes, and Ctrl-C ends the third wait."""
    lists: list[list[dict[str, Any]]] = [[], [], [GAME], [GAME], [], []]
    request = answers.request
    monkeypatch.setattr(
        remote, "request", lambda op, **args: lists.pop(0) if op == "games" else request(op, **args)
    )
    answers.fails = ControlError("40 is no game that runs", FAILED)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if not lists:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    assert main(["tune", "elden", "--wait"]) == INTERRUPTED
    assert len(slept) == 4
    assert "40 is no game that runs" in capsys.readouterr().err


def test_nothing_of_it_is_imported_before_a_game_is_tuned() -> None:
    program = (
        "import sys, scx_gamer.service.supervisor, scx_gamer.cli.app; scx_gamer.cli.app.build();"
        " print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "scx_gamer.cli.tune" in loaded
    assert not [name for name in loaded if name.startswith(("scx_gamer.tune", "scx_gamer.compare"))]
