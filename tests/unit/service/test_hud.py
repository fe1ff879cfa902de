# SPDX-License-Identifier: GPL-2.0-or-later
"""The line for MangoHud: one line, short, true in every state."""

from __future__ import annotations

from typing import Any

import pytest

from scx_gamer.cli import main
from scx_gamer.scheduler.machine import State
from scx_gamer.service import hud

ATTACHED: Any = {
    "state": "attached",
    "games": [{"comm": "doom\n\x1b[2J"}],
    "input": {"path": "kernel"},
    "scheduler": {"effects": 1},
}


def test_attached_names_the_game_and_the_input_path() -> None:
    assert hud.line(ATTACHED) == "scx_gamer: attached  doom\\x0a\\x1b[2J  input kernel"
    stale: Any = {**ATTACHED, "scheduler": {"effects": 0}}
    assert hud.line(stale).endswith("boosts off")


@pytest.mark.parametrize("state", [str(s) for s in State])
def test_each_state_is_one_short_line(state: str) -> None:
    status: Any = {"state": state, "cause": "x" * 300 + "\n", "games": [{"comm": "c" * 99}]}
    line = hud.line(status)
    assert line.startswith(f"scx_gamer: {state}")
    assert len(line) <= hud.WIDTH
    assert "\n" not in line


def test_a_fallback_says_why() -> None:
    assert hud.line({"state": "fallback", "cause": "3 stalls"}) == "scx_gamer: fallback  3 stalls"


def test_an_overlay_is_told_when_nobody_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCX_GAMER_RUNTIME_DIR", str(tmp_path))
    assert main(["status", "--mangohud"]) == 0
    assert capsys.readouterr().out == "scx_gamer: not running\n"
    assert main(["status", "--mangohud", "--json"]) == 2
