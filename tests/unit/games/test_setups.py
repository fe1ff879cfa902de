# SPDX-License-Identifier: GPL-2.0-or-later
"""Each set-up of `setups.py`: found at a first look and by events alike, with its name, main process and classes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from scx_gamer.games import desktop, lists
from scx_gamer.games.explain import explain
from scx_gamer.games.tracker import Tracker
from scx_gamer.games.userfiles import Mounts
from tests.unit.games.setups import SETUPS, Setup
from tests.unit.games.trees import FakeProc

TOP = Path(__file__).parents[3]
DATA = lists.load(TOP / "profiles" / "detect.toml")
DOCS = (TOP / "docs" / "detection.md").read_text()


def entries(setup: Setup) -> desktop.Entries:
    found = desktop.Entries.of(setup.programs)
    for text in setup.entries:
        desktop.add_entry(desktop.parse_entry(text), found, desktop.Place("/"), Mounts())
    return found


def tracker(setup: Setup) -> tuple[Tracker, FakeProc]:
    proc = FakeProc(setup.tree)
    return Tracker(proc, DATA, entries(setup)), proc


def check(setup: Setup, track: Tracker, proc: FakeProc) -> None:
    told = [(g.main.pid, g.decision) for g in track.games]
    if not setup.main:
        assert told == []
        assert all(explain(track, pid, 9.0)["because"] for pid in proc.pids())
    else:
        ((main, decision),) = told
        assert (main, decision.rule) == (setup.main, setup.rule)
        assert decision.evidence and (not setup.name or decision.name == setup.name)
        assert not setup.app_id or decision.app_id == setup.app_id
        assert track.classes[main].class_name == "GAME"
    classes = {pid: a.class_name for pid, a in track.classes.items()}
    assert [pid for pid in setup.aside if classes.get(pid) in ("GAME", "CRITICAL")] == []
    assert [pid for pid in setup.critical if classes.get(pid) != "CRITICAL"] == []


@pytest.mark.parametrize("setup", SETUPS, ids=lambda s: s.title)
def test_a_first_look_finds_the_game(setup: Setup) -> None:
    track, proc = tracker(setup)
    track.reconcile(0.0)
    track.settle(1.0)
    check(setup, track, proc)
    steps, reads = track.steps, proc.reads
    waiting = len(track.waits_to_draw())
    track.reconcile(30.0)
    assert track.steps - steps <= waiting and proc.reads == reads, "nothing has changed"
    check(setup, track, proc)


@pytest.mark.parametrize("setup", SETUPS, ids=lambda s: s.title)
def test_events_in_any_order_find_it_too(setup: Setup) -> None:
    """Parents may be heard of after their children: of what a reaper or a launcher claims, nobody is lost."""
    for seed in range(3):
        track, proc = tracker(setup)
        pids = proc.pids()
        random.Random(seed).shuffle(pids)
        for pid in pids:
            track.exec_seen(pid)
            track.update(0.5)
        track.settle(1.0)
        track.update(9.0)  # a store that drew before its helpers came was a game until then
        check(setup, track, proc)


def test_each_set_up_has_a_row_in_the_docs() -> None:
    assert [s.title for s in SETUPS if f"| {s.title} |" not in DOCS] == []
