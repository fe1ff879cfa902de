# SPDX-License-Identifier: GPL-2.0-only
"""status, start, stop, restart: asked of the running supervisor."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from scx_gamer.cli import output
from scx_gamer.system.exit_codes import NOT_RUNNING

_CLEAR = "\x1b[H\x1b[J"


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command("status")
    def status(
        as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
        watch: Annotated[bool, typer.Option("--watch", help="Repeat every second.")] = False,
        mangohud: Annotated[
            bool, typer.Option("--mangohud", help="One line for MangoHud's exec.")
        ] = False,
    ) -> None:
        """Show what the supervisor does and why."""
        if as_json and mangohud:
            raise typer.BadParameter("--json and --mangohud: choose one")
        while True:
            _show(as_json, mangohud, clear=watch and sys.stdout.isatty())
            if not watch:
                return
            time.sleep(1)

    @app.command("start")
    def start() -> None:
        """Let the scheduler attach again: now, or when a game runs."""
        _ask("start")

    @app.command("stop")
    def stop() -> None:
        """Detach the scheduler and keep it off, over a reboot too."""
        _ask("stop")

    @app.command("restart")
    def restart() -> None:
        """Detach and attach a new scheduler."""
        _ask("restart")


def _show(as_json: bool, mangohud: bool, *, clear: bool) -> None:
    """One answer. A watcher outlives the supervisor: it says so and goes on."""
    from scx_gamer import control
    from scx_gamer.cli import remote
    from scx_gamer.service import hud

    try:
        answer = remote.request("status")
    except control.ControlError as err:
        if mangohud:  # an overlay has no place for an error
            answer = {"state": "not running"}
        elif clear and err.code == NOT_RUNNING:
            print(f"{_CLEAR}{err.what}", flush=True)
            return
        else:
            raise
    if clear:
        print(_CLEAR, end="")
    if mangohud:
        print(hud.line(answer), flush=True)
    elif as_json:
        output.as_json(answer)
    else:
        output.pairs(_lines(answer))
    sys.stdout.flush()


def _ask(op: str) -> None:
    from scx_gamer.cli import remote

    answer = remote.request(op)
    state = answer.get("state") if isinstance(answer, dict) else None
    if state:
        print(state)


def _lines(answer: object, prefix: str = "") -> list[tuple[str, object]]:
    """Nested dictionaries as dotted names."""
    if not isinstance(answer, dict):
        return [(prefix or "status", answer)]
    lines: list[tuple[str, object]] = []
    for key, value in answer.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            lines.extend(_lines(value, f"{name}."))
        elif isinstance(value, list):
            lines.append((name, len(value) if value and isinstance(value[0], dict) else value))
        else:
            lines.append((name, "-" if value is None or value == "" else value))
    return lines
