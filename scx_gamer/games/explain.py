# SPDX-License-Identifier: GPL-2.0-only
"""Why something is a game, or is none: the chain of evidence for one process."""

from __future__ import annotations

from scx_gamer.games.model import program_of
from scx_gamer.games.rules import decide, why_not
from scx_gamer.games.tracker import Tracker

_MOST = 200  # processes of a tree that are named


def explain(tracker: Tracker, pid: int, now_s: float) -> dict[str, object]:
    """The schema of `games explain --json`, without threads."""
    process = tracker.read(pid)
    if process is None:
        return {"pid": pid, "game": False, "because": "there is no such process"}
    lineage = [process, *tracker.tree.ancestors(process)]
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
