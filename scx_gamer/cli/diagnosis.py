# SPDX-License-Identifier: GPL-2.0-or-later
"""metrics, doctor and report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scx_gamer.cli import output, remote
from scx_gamer.cli.options import Json
from scx_gamer.system.text import printable


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command("metrics")
    def metrics_() -> None:
        """Print one scrape of the running supervisor."""
        from scx_gamer import metrics

        print(metrics.text_of(remote.request("snapshot")), end="")

    @app.command("doctor")
    def doctor(as_json: Json = False) -> None:
        """Check which parts of scx-gamer work on this machine, and how to mend the others."""
        from scx_gamer import doctor as checks

        report = checks.examine()
        if as_json:
            output.as_json(report.as_dict())
        else:
            print(f"{report.summary}\n")
            for finding in report.findings:
                print(f"{finding.level:<5} {finding.check}: {printable(finding.what, 400)}")
                if finding.to_do:
                    print(f"      -> {printable(finding.to_do, 400)}")
        raise typer.Exit(report.exit_code)

    @app.command("report")
    def report_(
        out: Annotated[
            Path | None,
            typer.Option("--output", help="The archive to write, which must not exist."),
        ] = None,
        list_: Annotated[
            bool,
            typer.Option("--list", help="Print the contents of the archive and write nothing."),
        ] = False,
    ) -> None:
        """Write an archive for a bug report, without personal data."""
        from scx_gamer.doctor import report

        if list_:
            print(report.CONTENTS, end="")
            return
        print(report.write(out))
