# SPDX-License-Identifier: GPL-2.0-or-later
"""compare: the effect of the scheduler on the game that runs, measured while it is played."""

from __future__ import annotations

import secrets
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scx_gamer.cli import output, remote
from scx_gamer.cli.options import Json
from scx_gamer.system.exit_codes import FAILED
from scx_gamer.system.text import printable

if TYPE_CHECKING:
    from scx_gamer.compare.blocks import Plan
    from scx_gamer.control.snapshot import GameFacts


# Options of `tune` as well.
Wanted = Annotated[
    str, typer.Argument(help="PID, AppID or part of the name of the game.", show_default=False)
]
Now = Annotated[bool, typer.Option("--now", help="The game that runs now.")]
Shortest = Annotated[
    float,
    typer.Option(
        "--seconds", min=3, max=300, help="Shortest block; the longest has thrice as many."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("compare")
    def compare(
        game: Wanted = "",
        now: Now = False,
        minutes: Annotated[
            float, typer.Option("--minutes", min=0.5, max=600, help="Longest duration.")
        ] = 45,
        seconds: Shortest = 30,
        as_json: Json = False,
    ) -> None:
        """Measure your game without and with the scheduler while you play, and give one verdict."""
        check_named(game, now=now)
        _compare(game, minutes, seconds, as_json=as_json)


def check_named(game: str, *, now: bool) -> None:
    """Raise BadParameter unless a game is named, or the one that runs is meant."""
    if bool(game) == now:
        raise typer.BadParameter("name a game, or give --now for the one that runs")


def plan_of(minutes: float, seconds: float) -> Plan:
    """Return the plan of a session with a shortest block of `seconds`."""
    from scx_gamer.compare.blocks import Plan

    return Plan(shortest_s=seconds, longest_s=3 * seconds, time_s=minutes * 60)


def _compare(wanted: str, minutes: float, seconds: float, *, as_json: bool) -> None:
    from scx_gamer.compare import words
    from scx_gamer.compare.blocks import Comparison
    from scx_gamer.compare.live import LiveStage
    from scx_gamer.system.errors import ScxGamerError

    game = find_game(remote.request("games"), wanted)
    plan = plan_of(minutes, seconds)
    name = printable(game["name"] or game["comm"], 80)

    def progress(line: str) -> None:
        print(f"scx-gamer: {name}: {line}", file=sys.stderr, flush=True)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stopped: BaseException | None = None
    with LiveStage(remote.request, game["pid"]) as stage:
        comparison = Comparison(stage, plan, secrets.randbits(32), progress)
        try:
            comparison.run()
        except (KeyboardInterrupt, ScxGamerError) as err:
            stopped = err
    result = comparison.result
    if as_json:
        output.as_json(words.as_json(result, stage.source))
    else:
        print("\n".join(words.lines(result, stage.source)))
    if stopped is not None:
        raise stopped


def find_game(games: list[GameFacts], wanted: str) -> GameFacts:
    """Return the game that is wanted, the active one for an empty word. Raises CompareError."""
    from scx_gamer.compare.blocks import CompareError

    if not wanted:
        found = [game for game in games if game["active"]] or games
    else:
        exact = [g for g in games if wanted in (str(g["pid"]), str(g["main_pid"]), g["app_id"])]
        part = wanted.lower()
        found = exact or [g for g in games if part in f"{g['name']} {g['comm']}".lower()]
    if not found:
        what = f"no game {wanted!r} runs" if wanted else "no game runs"
        raise CompareError(what, hint="see `scx-gamer games list`", code=FAILED)
    return found[0]
