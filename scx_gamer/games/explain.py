# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers about games: the list, the facts for profiles, why a process is a game or is none."""

from __future__ import annotations

import time
from itertools import islice

from scx_gamer.games.model import Node, program_of
from scx_gamer.games.proc import Process
from scx_gamer.games.rules import is_aside, looked_for, profile_view, shown, why_not
from scx_gamer.games.tracker import Tracker
from scx_gamer.observe.observer import Observer
from scx_gamer.profiles import Game as Facts

MAX_FACTS = 64  # processes of a game that profiles are matched against
_MOST = 200  # processes of a tree that are named
_LINEAGE = 64  # parents that are named


def explain(tracker: Tracker, pid: int, now_s: float) -> dict[str, object]:
    """The schema of `games explain --json`, without threads."""
    process = tracker.read(pid)
    if process is None:
        return {"pid": pid, "game": False, "because": "there is no such process"}
    ctx = tracker.context()
    node = tracker.node_of(process)
    assignment = tracker.classes.get(pid)
    if assignment is not None and assignment.start_ticks != process.start_ticks:
        assignment = None
    game = tracker.game_of(process)
    lineage = islice((process, *islice(tracker.tree.ancestors(process), _LINEAGE)), _LINEAGE)
    answer: dict[str, object] = {
        "pid": pid,
        "program": shown(program_of(node.words)),
        "lineage": [_named(tracker, p) for p in lineage],
        "game": game is not None,
        "class": assignment.class_name if assignment else "NORMAL",
        "class_reason": assignment.reason if assignment else _no_class(tracker, node),
        "class_since_s": round(now_s - assignment.since_s, 3) if assignment else None,
        "class_until": "the process ends or the game does" if assignment else None,
        "looked_for": looked_for(node.facts, node.state, ctx),
    }
    if game is None:
        answer["because"] = why_not(node.facts, node.state, ctx)
        return answer
    tree = []
    for member in sorted(islice(game.members, _MOST)):
        found = tracker.tree.get(member[0])
        given = tracker.classes.get(member[0])
        if found is not None:
            tree.append(
                {
                    "pid": found.pid,
                    "parent": found.ppid,
                    "program": _named(tracker, found).partition(" ")[2],
                    "class": given.class_name if given else "NORMAL",
                }
            )
    return answer | {
        "rule": game.decision.rule,
        "name": game.decision.name,
        "app_id": game.decision.app_id,
        "evidence": list(game.decision.evidence),
        "root_pid": game.decision.root.pid,
        "main_pid": game.main.pid,
        "since_s": round(now_s - game.since_s, 3),
        "ended_s": None if game.ended_s is None else round(now_s - game.ended_s, 3),
        "tree": tree,
        "processes": len(game.members),
    }


def _named(tracker: Tracker, process: Process) -> str:
    """A pid and how the process is called."""
    return f"{process.pid} {shown(program_of(tracker.node_of(process).words))}"


def _no_class(tracker: Tracker, node: Node) -> str:
    if node.state.aside:
        return node.state.aside
    if (
        node.group is not None
        and node.group.running
        and is_aside(node.facts, node.state, tracker.context())
    ):
        return f"{shown(node.words.name)} is no part of the game"
    return "no rule gives it a class"


def boost_of(class_name: str, observe: Observer, focus_pid: int) -> str:
    """Name the input windows that raise a class now, and until when."""
    if class_name not in ("GAME", "CRITICAL"):
        return "none: only the game and what it waits for are boosted"
    if class_name == "GAME" and observe.control.get("focus_away"):
        return f"none: the focus is on process {focus_pid}, which is no game"
    now_ns = time.monotonic_ns()
    lanes = []
    for number, lane in observe.abi.names("lane").items():
        if number:
            state = f"lane[{number}]"
            ends = [observe.windows.get(f"{state}.{n}") for n in ("until_ns", "held_until_ns")]
            if max(ends) > now_ns:
                lanes.append(f"{lane} for {(max(ends) - now_ns) / 1e6:.0f} ms more")
    return ", ".join(lanes) or "none: no input lately"


def listing(tracker: Tracker, now_s: float) -> list[dict[str, object]]:
    """The schema of `games list --json`."""
    active = tracker.active
    return [
        {
            "pid": game.decision.root.pid,
            "comm": _named(tracker, game.main).partition(" ")[2],
            "reason": "; ".join(game.decision.evidence),
            "processes": len(game.members),
            "rule": game.decision.rule,
            "name": game.decision.name,
            "app_id": game.decision.app_id,
            "main_pid": game.main.pid,
            "since_s": round(now_s - game.since_s, 1),
            "active": active is not None and game.key == active.key,
        }
        for game in tracker.games
    ]


def facts(tracker: Tracker) -> list[Facts]:
    """Processes of every game, its main one first, the newest game first."""
    found: list[Facts] = []
    for game in reversed(tracker.games):
        decision = game.decision
        app_id = int(decision.app_id) if decision.rule == "steam" else 0
        others = (p for pid, _ in islice(game.members, MAX_FACTS) if (p := tracker.tree.get(pid)))
        for process in (game.main, *sorted(others, key=lambda p: p.pid)):
            node = tracker.node_of(process)
            view = profile_view(process, node.words) or process
            found.append(Facts(app_id, view.exe, view.argv))
    return found
