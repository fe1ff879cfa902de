# SPDX-License-Identifier: GPL-2.0-or-later
"""games: the running games, and which processes are games because a user says so."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import Annotated

import typer

from scx_gamer.cli import output, remote
from scx_gamer.cli.options import Json, Pid
from scx_gamer.system import procfs

WIDTH = 100  # columns of a line of facts
MOST = 5  # processes that `games why` tells of
SEEN_S = 1.5  # after which only roles are left that wake-ups have shown meanwhile


def register(app: typer.Typer) -> None:
    """Add the commands."""

    group = typer.Typer(help="The games that run now.", no_args_is_help=True)

    @group.command("list")
    def list_(as_json: Json = False) -> None:
        """List the games the supervisor knows."""
        games = remote.request("games")
        if as_json:
            output.as_json(games)
            return
        rows = [g for g in games if isinstance(g, dict)] if isinstance(games, list) else []
        if not rows:
            print("no game runs")
            return
        head = ("pid", "name", "rule", "app_id", "main_pid", "processes", "since_s", "reason")
        output.table([h.upper() for h in head], ([row.get(h) or "-" for h in head] for row in rows))

    @group.command("add")
    def add(pid: Pid) -> None:
        """Make a running process, and what it starts, a game."""
        remote.request("game_add", pid=pid)

    @group.command("remove")
    def remove(pid: Pid) -> None:
        """Take back what add said, or say that a game that was found is none."""
        remote.request("game_remove", pid=pid)

    @group.command("explain")
    def explain(pid: Pid, as_json: Json = False) -> None:
        """Say why a process is a game or is none: evidence, tree, classes and threads."""
        answer = remote.request("explain", pid=pid)
        if isinstance(answer, dict) and answer.get("threads_earlier"):
            time.sleep(SEEN_S)
            answer = remote.request("explain", pid=pid)
        if as_json:
            output.as_json(answer)
        elif isinstance(answer, dict):
            _explained(answer)

    @group.command("why")
    def why(
        name: Annotated[
            str, typer.Argument(help="Part of the program's name; without it the likeliest ones.")
        ] = "",
        as_json: Json = False,
    ) -> None:
        """Say why nothing is found while you play: the processes most like a game, and the facts they lack."""
        answers = [remote.request("explain", pid=pid) for pid in likeliest(name)]
        if as_json:
            output.as_json(answers)
            return
        for answer in answers:
            if isinstance(answer, dict):
                _closest(answer)
        if not answers:
            print("no process of that name that you may see" if name else "no process that draws")
        elif not any(isinstance(answer, dict) and answer.get("game") for answer in answers):
            print(
                "`scx-gamer games add PID` makes one a game; a profile, or an entry of category Game, does for good"
            )

    app.add_typer(group, name="games")


def likeliest(name: str, proc: Path = procfs.PROC) -> list[int]:
    """Return processes that look like games to their user: by name, that draw, with most CPU time first."""
    found: list[tuple[bool, int, int]] = []
    for pid in procfs.pids(proc):
        stat = procfs.stat_of(pid, proc)
        if stat is None or stat.kthread or stat.ended:
            continue
        words = procfs.words_of(pid, proc)
        if name.lower() not in f"{stat.comm} {words}".lower():
            continue
        draws = procfs.has_gpu(pid, proc)
        if name or draws:
            found.append((draws, stat.cpu, pid))
    return [pid for _, _, pid in sorted(found, reverse=True)[:MOST]]


def _closest(answer: dict[str, object]) -> None:
    """Print one process, the reason that decided, and the facts that were looked for."""
    verdict = "a game" if answer.get("game") else f"no game: {answer.get('because')}"
    print(f"{answer.get('pid')} {answer.get('program')}: {verdict}")
    _facts(answer, "    ")


def _facts(answer: dict[str, object], indent: str) -> None:
    """Print the facts that were there, then those that were looked for in vain."""
    rows = answer.get("looked_for")
    told = [str(row).rpartition(": ") for row in rows] if isinstance(rows, list) else []
    there = [
        fact if value == "yes" else f"{fact}: {value}" for fact, _, value in told if value != "no"
    ]
    missing = [fact for fact, _, value in told if value == "no"]
    for what, facts in (("found", there), ("not found", missing)):
        if facts:
            line = f"{what}: {'; '.join(facts)}"
            print(
                textwrap.fill(line, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")
            )


def _explained(answer: dict[str, object]) -> None:
    """The chain of evidence, the facts that were looked for, then the tree and the threads as tables."""
    tables = ("tree", "threads", "looked_for")
    items: list[tuple[str, object]] = []
    for key, value in answer.items():
        if key in tables:
            continue
        if key == "lineage" and isinstance(value, list):
            value = " <- ".join(map(str, value))
        elif isinstance(value, list):
            value = "; ".join(map(str, value))
        items.append((key, "-" if value is None or value == "" else value))
    output.pairs(items)
    _facts(answer, "")
    for key in ("tree", "threads"):
        rows = answer.get(key)
        if isinstance(rows, list) and rows:
            head = list(rows[0])
            print()
            output.table(
                [h.upper() for h in head],
                (["-" if row.get(h) is None else row[h] for h in head] for row in rows),
            )
