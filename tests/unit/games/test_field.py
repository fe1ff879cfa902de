# SPDX-License-Identifier: GPL-2.0-or-later
"""Each case of `cases/`: found when the supervisor starts late and by events alike, through the real readers."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from scx_gamer.games import lists
from scx_gamer.games.tracker import Tracker
from tests.unit.games import field

HERE = Path(__file__).parent
DATA = lists.load(HERE.parents[2] / "profiles" / "detect.toml")
CASES = sorted((HERE / "cases").glob("*.case"))

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="each case has a root file system")


def in_its_root(case: field.Case, root: Path, look: Callable[..., Tracker]) -> str:
    """Ask for the faults in a child process whose root is the case's; empty if there are none."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chroot(root)
            os.chdir("/")
            answer = "; ".join(field.problems(case, look(case, DATA)))
        except BaseException:
            answer = traceback.format_exc()
        os.write(writing, answer.encode()[:4096])
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_a_case_comes_out_as_a_player_would_say(path: Path, tmp_path: Path) -> None:
    case = field.parse(path.read_text())
    assert case.title and case.source and case.processes
    field.lay_out(case, tmp_path)
    if "cold-miss" not in case.arguable:
        assert in_its_root(case, tmp_path, field.found_at_once) == ""
    if "late" not in case.arguable:
        assert in_its_root(case, tmp_path, field.found_by_events) == ""


def test_a_wrong_answer_is_noticed(tmp_path: Path) -> None:
    case = field.parse((HERE / "cases" / "starsector.case").read_text())
    field.lay_out(case, tmp_path)
    case.expect = {"game": "720"}
    assert "none of" in in_its_root(case, tmp_path, field.found_at_once)
    case.expect = {"game": "none"}
    assert "a game: " in in_its_root(case, tmp_path, field.found_by_events)
