# SPDX-License-Identifier: GPL-2.0-only
"""What is answered about games: the list, the facts for profiles, why a process is a game or is none."""

from __future__ import annotations

import time
from itertools import islice

from scx_gamer.games.model import program_of
from scx_gamer.games.rules import decide, why_not
from scx_gamer.games.tracker import Tracker
from scx_gamer.observe.observer import Observe
from scx_gamer.profiles import Game as Facts

MAX_FACTS = 64  # processes of a game that profiles are matched against
_MOST = 200  # processes of a tree that are named


def explain(tracker: Tracker, pid: int, now_s: float) -> dict[str, object]:
    """The schema of `games explain --json`, without threads."""
    process = tracker.read(pid)
    if process is None:
        return {"pid": pid, "game": False, "because": "there is no such process"}
    lineage = [process, *islice(tracker.tree.ancestors(process), _MOST)]
    assignment = tracker.classes.get(pid)
    if assignment is not None and assignment.start_ticks != process.start_ticks:
        assignment = None
    game = tracker.game_of(process)
    answer: dict[str, object] = {
        "pid": pid,
        "program": program_of(process),
        "lineage": [f"{p.pid} {program_of(p)}" for p in lineage],
        "game": game is not None,
        "class": assignment.class_name if assignment else "NORMAL",
        "class_reason": assignment.reason if assignment else "no rule gives it a class",
        "class_since_s": round(now_s - assignment.since_s, 3) if assignment else None,
        "class_until": "the process ends or the game does" if assignment else None,
    }
    if game is None:
        ctx = tracker.context()
        decision = decide(process, ctx)
        answer["because"] = (
            f"rule {decision.rule} matches, but nothing in that tree is more than a launcher"
            if decision
            else why_not(process, ctx)
        )
        return answer
    tree = []
    for member in sorted(game.members)[:_MOST]:
        found = tracker.tree.get(member[0])
        given = tracker.classes.get(member[0])
        if found is not None:
            tree.append(
                {
                    "pid": found.pid,
                    "parent": found.ppid,
                    "program": program_of(found),
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


def boost_of(class_name: str, observe: Observe, focus_pid: int) -> str:
    """Which input windows raise a class now, and until when."""
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
            "comm": program_of(game.main),
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
        others = [p for pid, _ in sorted(game.members) if (p := tracker.tree.get(pid))]
        for process in (game.main, *others[:MAX_FACTS]):
            found.append(Facts(app_id, process.exe, process.argv))
    return found
