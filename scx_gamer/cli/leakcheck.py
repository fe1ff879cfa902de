# SPDX-License-Identifier: GPL-2.0-or-later
"""leakcheck: the leak check."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scx_gamer.cli import output
from scx_gamer.cli.options import Json
from scx_gamer.system.text import printable

if TYPE_CHECKING:
    from scx_gamer.leakcheck.check import Report


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("leakcheck")
    def leakcheck(
        cycles: Annotated[
            int, typer.Option("--cycles", min=2, max=100000, help="Cycles to compare.")
        ] = 20,
        selftest: Annotated[
            bool,
            typer.Option(
                "--selftest", help="Leak resources on purpose and check that they are found."
            ),
        ] = False,
        kmemleak: Annotated[
            bool, typer.Option("--kmemleak", help="Use kmemleak, the kernel's leak detector.")
        ] = False,
        control: Annotated[
            Path | None, typer.Option("--control", help="File of the sample module kmemleak-test.")
        ] = None,
        watch: Annotated[
            float, typer.Option("--watch", min=0, help="Repeat every so many seconds.")
        ] = 0,
        as_json: Json = False,
    ) -> None:
        """Attach and detach the scheduler repeatedly and report leaked resources."""
        from scx_gamer.leakcheck import check

        def once() -> Report:
            if selftest:
                return check.selftest()
            if kmemleak:
                return check.run_kmemleak(cycles, control)
            return check.run(cycles, progress=_progress)

        code, known = 0, set[str]()
        try:
            while True:
                report = once()
                _show(report, known, as_json)
                known |= {*report.findings, *report.notes}
                code = max(code, report.exit_code)
                if not watch:
                    break
                time.sleep(watch)
        except KeyboardInterrupt:
            if not watch:
                raise
        raise typer.Exit(code)


def _progress(number: int) -> None:
    if sys.stderr.isatty():
        print(f"\rcycle {number}", end="", file=sys.stderr, flush=True)


def _show(report: Report, known: set[str], as_json: bool) -> None:
    if as_json:
        output.as_json(report.as_dict())
        return
    print(report.verdict)
    for finding in report.findings:
        if finding not in known:
            print(f"  {printable(finding, 600)}")
    for note in report.notes:
        if note not in known:
            print(f"  not ours: {printable(note, 600)}")
    for name, value in report.figures.items():
        print(f"  {name}: {value:g}")
