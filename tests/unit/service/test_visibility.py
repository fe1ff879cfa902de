# SPDX-License-Identifier: GPL-2.0-or-later
"""The users who are told of a game: root and the seat of all, others of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scx_gamer.control import ControlError
from scx_gamer.service.visibility import Visibility

SEAT, SSH = 1000, 1001


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for pid, uid in ((10, SEAT), (11, SSH)):
        (tmp_path / str(pid)).mkdir()
        text = f"Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"
        (tmp_path / str(pid) / "status").write_text(text)
    return tmp_path


def rows() -> Any:
    more = {"reason": "because", "app_id": "440", "processes": 1}
    return [{"pid": pid, "comm": f"doom{pid}", "name": "Doom", **more} for pid in (10, 11)]


@pytest.mark.parametrize(
    ("setting", "uid", "seen"),
    [
        ("seat", 0, [10, 11]),
        ("seat", SEAT, [10, 11]),
        ("seat", SSH, [11]),
        ("seat", 65534, []),
        ("all", 65534, [10, 11]),
    ],
)
def test_games_that_a_user_sees(setting: str, uid: int, seen: list[int], proc: Path) -> None:
    sight = Visibility(setting, lambda who: who == SEAT, proc)
    assert [row["pid"] for row in sight.games(rows(), uid)] == seen


def test_files_for_everybody_name_no_game_unless_all_may_know(proc: Path) -> None:
    shown = Visibility("seat", lambda _uid: True, proc).public(rows())
    assert "doom" not in str(shown).lower() and "440" not in str(shown)
    assert [row["pid"] for row in shown] == [10, 11]
    assert Visibility("all", lambda _uid: True, proc).public(rows()) == rows()


def test_a_process_is_explained_to_its_user_and_root(proc: Path) -> None:
    sight = Visibility("seat", lambda _uid: True, proc)
    sight.check_process(11, SSH)
    sight.check_process(11, 0)
    for pid in (10, 99):
        with pytest.raises(ControlError, match=f"process {pid} is not yours"):
            sight.check_process(pid, SSH)
