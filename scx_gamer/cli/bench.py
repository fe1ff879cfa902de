# SPDX-License-Identifier: GPL-2.0-or-later
"""bench: the effect of the scheduler on this machine, with its uncertainty."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from scx_gamer.cli import output
from scx_gamer.cli.options import Json

_COMPARE = "compare"


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("bench")
    def bench(
        words: Annotated[
            list[str] | None,
            typer.Argument(metavar="[compare A.csv B.csv | COMMAND...]", show_default=False),
        ] = None,
        loads: Annotated[
            str, typer.Option("--loads", help="Background loads, separated by commas.")
        ] = "none,hogs-2,compile",
        pairs: Annotated[
            int, typer.Option("--pairs", min=1, max=100, help="Pairs of runs, without and with.")
        ] = 5,
        seconds: Annotated[
            float, typer.Option("--seconds", min=0.5, max=600, help="Duration of each run.")
        ] = 10.0,
        shape: Annotated[
            str, typer.Option("--shape", help="Threads of the game-like load.")
        ] = "few",
        report: Annotated[
            Path | None, typer.Option("--report", help="Write a page with plots to this file.")
        ] = None,
        as_json: Json = False,
    ) -> None:
        """Measure a game-like load, or COMMAND, without and with the scheduler; or compare two MangoHud logs."""
        given = words or []
        if given[:1] == [_COMPARE]:
            _compare(given[1:], as_json=as_json)
            return
        from scx_gamer.bench import pairs as runs
        from scx_gamer.bench import report as pages
        from scx_gamer.bench.cells import SHAPES

        if shape not in SHAPES:
            raise typer.BadParameter(f"--shape is {shape!r}; use one of {', '.join(SHAPES)}")
        chosen = tuple(name.strip() for name in loads.split(",") if name.strip())
        plan = runs.Plan(chosen, shape, pairs, seconds, tuple(given))

        def progress(line: str) -> None:
            print(line, file=sys.stderr, flush=True)

        if plan.command:
            verdict = runs.measure_command(plan, progress)
            print(json.dumps({"line": str(verdict)}) if as_json else verdict)
            return
        outcomes = runs.measure(plan, progress)
        if report is not None:
            pages.write(report, outcomes)
        if as_json:
            output.as_json([o.json() for o in outcomes])
        else:
            for outcome in outcomes:
                for verdict in outcome.verdicts():
                    print(verdict)


def _compare(files: list[str], *, as_json: bool) -> None:
    if len(files) != 2:
        raise typer.BadParameter("compare needs two MangoHud logs: bench compare A.csv B.csv")
    from scx_gamer.bench import mangohud

    found = mangohud.compare(mangohud.read(Path(files[0])), mangohud.read(Path(files[1])))
    if as_json:
        output.as_json(
            {
                "a": {"mean_fps": found.a.mean_fps, "low1_fps": found.a.low1_fps},
                "b": {"mean_fps": found.b.mean_fps, "low1_fps": found.b.low1_fps},
                "low1_change": [found.low1.low, found.low1.middle, found.low1.high],
                "noise": found.noise,
                "verdict": found.lines()[-1],
            }
        )
    else:
        print("\n".join(found.lines()))
