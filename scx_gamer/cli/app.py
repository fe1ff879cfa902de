# SPDX-License-Identifier: GPL-2.0-only
"""All commands in one application; how usage errors are shown."""

from __future__ import annotations

import sys

import typer

from scx_gamer.cli import (
    agent,
    bench,
    daemon,
    devices,
    diagnosis,
    games,
    leakcheck,
    net,
    profiles,
    state,
    top,
    trace,
    version,
)
from scx_gamer.system.exit_codes import INTERRUPTED, USAGE
from scx_gamer.system.text import printable


def build() -> typer.Typer:
    """The application with every command."""
    app = typer.Typer(
        name="scx-gamer",
        help="A CPU scheduler for games: runs, watches and explains it.",
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for group in (
        daemon,
        agent,
        state,
        top,
        games,
        profiles,
        devices,
        diagnosis,
        leakcheck,
        net,
        trace,
        bench,
        version,
    ):
        group.register(app)
    return app


def run(args: list[str]) -> int:
    """Run one command. Usage errors are shown here; other exceptions go to the caller."""
    command = typer.main.get_command(build())
    try:
        result = command.main(args, prog_name="scx-gamer", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except Exception as error:
        # typer's own, whichever click it carries
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        text = message()
        if type(error).__name__ == "NoArgsIsHelpError":
            print(text, file=sys.stderr)
            return USAGE
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "scx-gamer"
        print(f"scx-gamer: {printable(text)}; see {path} --help", file=sys.stderr)
        return USAGE
    return result if isinstance(result, int) else 0
