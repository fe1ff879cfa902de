# SPDX-License-Identifier: GPL-2.0-or-later
"""The file of courses: nothing is lost in it, nothing malformed comes out of it, and it does not grow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.compare.blocks import LOOKS, Block, CompareError, Result
from scx_gamer.tune import store
from scx_gamer.tune.course import Arm, Course
from tests.unit.tune.test_course import kept

PAIR = (Block(100, 60.0, 40.0), Block(101, 61.5, 44.0))


def course(pairs: int = 0, looks: int = 0) -> Course:
    return Course(
        "7.2.13", "Steam build 5", {"home": kept(0, 1)}, [Arm("slice_us", 1500, [0.1, -0.2], [1, 2], 1)],
        2, Result([PAIR] * pairs, [3, 0], looks), ["home"], 1, "2026-11-01", "2026-10-01", [("home", 0)],
    )  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    assert store.load(path) == {}
    courses = {"appid 5": course(8, 1), "exe doom": Course("7.2", "")}
    store.save(path, courses)
    assert store.load(path) == courses
    assert list(store.load(path)) == ["appid 5", "exe doom"]
    assert [p.name for p in tmp_path.iterdir()] == ["tuning.json"]


@pytest.mark.parametrize(("pairs", "looks"), [(0, 0), (7, 0), (8, 1), (10, 1), (28, 4)])
def test_a_look_that_was_not_acted_upon_is_repeated(tmp_path: Path, pairs: int, looks: int) -> None:
    """It is the same look at the same pairs, so it spends no error of its own."""
    path = tmp_path / "tuning.json"
    store.save(path, {"appid 5": course(pairs)})
    result = store.load(path)["appid 5"].result
    assert (len(result.pairs), result.looks) == (pairs, looks)
    assert LOOKS[result.looks][0] >= pairs


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("kernel", 5),
        ("arms", [{"name": "x"}]),
        ("arms", [{}] * 1000),
        ("pairs", [[{"frames": 1, "mean_fps": 0.0, "low1_fps": 1.0}] * 2]),
        ("discarded", [1]),
        ("lost", -1),
        ("lost", True),
        ("kept", {"home": {"value": 1}}),
        ("kernel", "7.2\x7f"),
        ("game", "a" * (store.MAX_TEXT + 1)),
        ("failed", [["home"]]),
        ("failed", [["home", 0]] * 1000),
    ],
)
def test_a_malformed_course_is_left_out(
    tmp_path: Path, key: str, wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tuning.json"
    store.save(path, {"appid 5": course(), "appid 6": course()})
    raw = json.loads(path.read_text())
    raw["games"]["appid 5"][key] = wrong
    path.write_text(json.dumps(raw))
    assert list(store.load(path)) == ["appid 6"]
    assert "a game is left out" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2, "games": {}}', "\udce9", "[" * 9999]
)
def test_a_file_that_is_none_is_one_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(CompareError) as error:
        store.load(path)
    assert str(path) in str(error.value)
    assert "remove it to begin anew" in str(error.value)


def test_the_file_is_bounded_and_forgets_what_was_kept_last(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    courses = {f"appid {n}": Course("7.2", "") for n in range(store.MAX_GAMES + 5)}
    courses["appid 0"] = course()
    courses = {"appid 0": courses.pop("appid 0"), **courses}
    store.save(path, courses)
    found = store.load(path)
    assert len(found) == store.MAX_GAMES
    assert "appid 0" in found
    assert "appid 1" not in found
    store.save(
        path, {**{f"exe {n}": course() for n in range(store.MAX_GAMES)}, "now": Course("7.2", "")}
    )
    assert list(store.load(path))[-1] == "now"


def test_a_file_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CompareError, match="cannot write") as error:
        store.save(tmp_path / "file/tuning.json", {})
    assert os.strerror(error.value.errno) == "Not a directory"
