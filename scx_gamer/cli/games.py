# SPDX-License-Identifier: GPL-2.0-only
"""games: the running games, and which processes are games because a user says so."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from scx_gamer.cli import output

SEEN_S = 1.5  # after which only roles are left that wake-ups have shown meanwhile


def register(app: typer.Typer) -> None:
    """Add the commands."""

    group = typer.Typer(help="The games that run now.", no_args_is_help=True)

    @group.command("list")
    def list_(
        as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
    ) -> None:
        """List the games the supervisor knows."""
        from scx_gamer.cli import remote

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
    def add(pid: Annotated[int, typer.Argument(min=1, max=2**22)]) -> None:
        """Make a running process, and what it starts, a game."""
        from scx_gamer.cli import remote

        remote.request("game_add", pid=pid)

    @group.command("remove")
    def remove(pid: Annotated[int, typer.Argument(min=1, max=2**22)]) -> None:
        """Take back what add said, or say that a game that was found is none."""
        from scx_gamer.cli import remote

        remote.request("game_remove", pid=pid)

    @group.command("explain")
    def explain(
        pid: Annotated[int, typer.Argument(min=1, max=2**22)],
        as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
    ) -> None:
        """Say why a process is a game or is none: evidence, tree, classes and threads."""
        from scx_gamer.cli import remote

        answer = remote.request("explain", pid=pid)
        if isinstance(answer, dict) and answer.get("threads_earlier"):
            time.sleep(SEEN_S)
            answer = remote.request("explain", pid=pid)
        if as_json:
            output.as_json(answer)
        elif isinstance(answer, dict):
            _explained(answer)

    app.add_typer(group, name="games")


def _explained(answer: dict[str, object]) -> None:
    """The chain of evidence, then the tree and the threads as tables."""
    tables = ("tree", "threads")
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
    for key in tables:
        rows = answer.get(key)
        if isinstance(rows, list) and rows:
            head = list(rows[0])
            print()
            output.table(
                [h.upper() for h in head],
                (["-" if row.get(h) is None else row[h] for h in head] for row in rows),
            )
