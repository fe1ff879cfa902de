# SPDX-License-Identifier: GPL-2.0-or-later
"""The application of all commands, and the printing of usage errors."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import typer

from scx_gamer.cli.commands import COMMANDS, Command
from scx_gamer.system.exit_codes import INTERRUPTED, USAGE
from scx_gamer.system.text import printable

# In the order of the help.
_MODULES = (
    "top", "games", "sessions", "profiles", "devices", "diagnosis", "leakcheck", "net",
    "trace", "bench", "compare", "tune",
)  # fmt: skip


def build() -> typer.Typer:
    """Return the application with every command."""
    app = typer.Typer(
        name="scx-gamer",
        help="A CPU scheduler for games.",
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for command in COMMANDS:
        settings = {"allow_interspersed_args": False, "ignore_unknown_options": True}
        app.command(command.name, context_settings=settings if command.words else {})(
            _as_typer(command)
        )
    for module in _MODULES:
        import_module(f"scx_gamer.cli.{module}").register(app)
    return app


def _as_typer(command: Command) -> Callable[..., None]:
    """Return a function with the signature and the help of a command in the table, for typer."""

    def call(**values: object) -> None:
        raise typer.Exit(command.call(**values))

    annotations: dict[str, object] = {}
    defaults: dict[str, object] = {}
    for option in command.options:
        shown = typer.Option(option.flag, help=option.help)
        annotations[option.name] = Annotated[str | None if option.takes_value else bool, shown]
        defaults[option.name] = None if option.takes_value else False
    if command.words:
        annotations["command"] = Annotated[list[str], typer.Argument(help=command.words)]
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, inspect.Parameter.empty),
                annotation=annotation,
            )
            for name, annotation in annotations.items()
        ]
    )
    call.__annotations__ = annotations
    call.__doc__ = command.help
    return call


def run(args: list[str]) -> int:
    """Run one command and return its exit code. Usage errors are printed; other exceptions are raised."""
    command = typer.main.get_command(build())
    try:
        result = command.main(args, prog_name="scx-gamer", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except SystemExit as ended:  # click's answer to a closed pipe
        raise BrokenPipeError from ended
    except Exception as error:
        # a usage error of typer or of its click
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
