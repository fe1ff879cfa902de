# SPDX-License-Identifier: GPL-2.0-only
"""run: the supervisor in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("run")
    def run(
        mode: Annotated[
            str | None, typer.Option("--mode", help="auto or always; else the configuration's.")
        ] = None,
        config: Annotated[
            Path | None, typer.Option("--config", help="Folder to read instead of /etc.")
        ] = None,
    ) -> None:
        """Run the supervisor in the foreground until SIGTERM or SIGINT."""
        from scx_gamer.config.settings import MODES, load

        if mode is not None and mode not in MODES:
            raise typer.BadParameter(f"--mode is {mode!r}; use auto or always")
        settings = load(config)
        if mode is not None:
            settings = settings.with_mode(mode)
        from scx_gamer.libbpf import Abi, find_object, object_btf
        from scx_gamer.service import supervisor

        settings.check_tunables(Abi(object_btf(find_object("observe"))).constants)

        raise typer.Exit(supervisor.main(settings))
