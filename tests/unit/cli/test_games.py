# SPDX-License-Identifier: GPL-2.0-or-later
"""`games why` as a player reads it: what is most like a game, what it has, what it lacks, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scx_gamer.cli import games, remote
from scx_gamer.cli.app import build
from tests.unit.games import field

ANSWER = {
    "pid": 700,
    "program": "foo",
    "game": False,
    "because": "it draws, but nothing says that it is a game",
    "looked_for": ["launcher: no", "Windows program: C: foo.exe", "holds a render node: yes"],
}


@pytest.mark.parametrize("game", [False, True])
def test_why_tells_facts_apart_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, game: bool
) -> None:
    def request(_op: str, **_arguments: Any) -> dict[str, object]:
        return ANSWER | {"game": game}

    monkeypatch.setattr(remote, "request", request)
    monkeypatch.setattr(games, "likeliest", lambda _name: [700])
    said = CliRunner().invoke(build(), ["games", "why"]).output
    lines = said.splitlines()
    assert "700 foo: " in lines[0] and ("nothing says" in lines[0]) is not game
    assert lines[1:3] == [
        "    found: Windows program: C: foo.exe; holds a render node",
        "    not found: launcher",
    ]
    assert ("games add PID" in said) is not game


def test_the_likeliest_draws_and_has_the_name(tmp_path: Path) -> None:
    case = field.parse(
        "tree:\n10 /usr/bin/foo foo\n20 /usr/bin/bar bar foo @drm\n30 /usr/bin/baz baz @drm\n"
    )
    field.lay_out(case, tmp_path)
    assert games.likeliest("foo", tmp_path / "proc") == [20, 10]
    assert sorted(games.likeliest("", tmp_path / "proc")) == [20, 30]
