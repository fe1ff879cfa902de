# SPDX-License-Identifier: GPL-2.0-or-later
"""Marks that outlive the supervisor: of the same processes, bounded, and refused if nobody wrote them so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.games import lists
from scx_gamer.games.marks import MAX_MARKS, MarkFile, parse
from scx_gamer.games.tracker import Tracker
from tests.unit.games import trees

DATA = lists.load(Path(__file__).parents[3] / "profiles" / "detect.toml")
ENTRIES = {"/usr/games/freedoom1": "Freedoom"}


def test_a_restart_finds_a_game_that_only_its_exec_showed(tmp_path: Path) -> None:
    proc = trees.FakeProc(trees.SCRIPT_ENGINE, trees.COMPILE)
    first = Tracker(proc, DATA, ENTRIES)
    first.executed(1101, 11010, "/usr/games/freedoom1")
    first.add_explicit(51, "games add")
    first.update(0.0)
    MarkFile(tmp_path / "marks.json", "boot").write(first.marks())
    for change in ("none", "another process has the pid"):
        if change != "none":
            proc.processes[1101] = replace(proc.processes[1101], start_ticks=99999)
        again = Tracker(proc, DATA, ENTRIES)
        again.restore(MarkFile(tmp_path / "marks.json", "boot").read())
        again.reconcile(0.0)
        names = {g.decision.name for g in again.games}
        assert names == ({"Freedoom", "cc1"} if change == "none" else {"cc1"})
        assert (1101 in again.marks()["began"]) == (change == "none")


def test_marks_of_another_boot_are_none(tmp_path: Path) -> None:
    MarkFile(tmp_path / "m", "one").write({"explicit": {5: (1, "x")}, "began": {}})
    assert MarkFile(tmp_path / "m", "one").read()["explicit"] == {5: (1, "x")}
    assert MarkFile(tmp_path / "m", "two").read()["explicit"] == {}


def test_a_file_that_nobody_wrote_so_costs_the_marks_alone(tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    for raw in (
        b"",
        b"[]",
        b'{"boot": "boot", "explicit": [[1, 2]]}',
        b'{"boot": "boot", "began": [[0, 1, "x"]]}',
        b'{"other": []}',
        b"[" * 9999,
    ):
        path.write_bytes(raw)
        assert MarkFile(path, "boot").read() == {"explicit": {}, "began": {}}


def test_the_newest_marks_are_kept(tmp_path: Path) -> None:
    many = dict.fromkeys(range(1, MAX_MARKS + 50), (1, "x"))
    file = MarkFile(tmp_path / "marks.json", "boot")
    file.write({"explicit": many, "began": {5: (1, "y" * 9999)}})
    found = file.read()
    assert len(found["explicit"]) == MAX_MARKS and max(found["explicit"]) == MAX_MARKS + 49
    assert found["began"] == {}


@given(st.binary(max_size=200))
def test_any_bytes_are_marks_or_refused(raw: bytes) -> None:
    try:
        found = parse(raw, "boot")
    except (ValueError, RecursionError):
        return
    with pytest.raises(KeyError):
        found["x"]
