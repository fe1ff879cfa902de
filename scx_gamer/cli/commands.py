# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that start without typer: one table of their options and help, for the start-up path and for typer.

typer 0.29 imports pydantic: 18 MB and 0.1 s, spent for nothing in a daemon, a game's launcher or an overlay's line.
Arguments that the table takes are dispatched at once. For help and for wrong arguments, typer answers from the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.exit_codes import USAGE


class UsageError(ScxGamerError):
    """An option with an invalid value."""

    code = USAGE


class Option(NamedTuple):
    """A switch, or an option with one value."""

    flag: str
    help: str
    takes_value: bool = False

    @property
    def name(self) -> str:
        """The name of the function's parameter."""
        return {"--json": "as_json"}.get(self.flag) or self.flag.removeprefix("--").replace(
            "-", "_"
        )


class Command(NamedTuple):
    """`function` is module:name below scx_gamer.cli; it returns the exit code."""

    name: str
    function: str
    help: str
    options: tuple[Option, ...] = ()
    words: str = ""  # help for its words, if it takes all words after its options

    def call(self, **values: object) -> int:
        """Import the function and run it."""
        module, _, name = self.function.partition(":")
        code = getattr(import_module(f"scx_gamer.cli.{module}"), name)(**values)
        assert isinstance(code, int)
        return code


JSON = Option("--json", "Print JSON.")

COMMANDS = (
    Command(
        "run",
        "daemon:run",
        "Run the supervisor in the foreground until SIGTERM or SIGINT.",
        (
            Option("--mode", "auto or always; by default as configured.", takes_value=True),
            Option("--config", "Directory to read instead of /etc/scx-gamer.", takes_value=True),
            Option(
                "--give-back",
                "Start nothing: give back the properties of units that a killed supervisor held, and end.",
            ),
        ),
    ),
    Command(
        "setup",
        "setup:setup",
        "Switch everything on after the installation, and say what is left: doctor, the service, your agent.",
        (Option("--dry-run", "Say what would be done, and change nothing."),),
    ),
    Command(
        "agent",
        "agent:agent",
        "Report the focused program of this session to the supervisor until SIGTERM. Run it as the user, not as root.",
        (
            Option(
                "--notices",
                "Notifications about games: all, start, end or none; by default all.",
                takes_value=True,
            ),
        ),
    ),
    Command(
        "loader",
        "daemon:loader",
        "Answer the D-Bus interface of scx_loader for our scheduler, until SIGTERM or until scx_loader wants its name.",
        (
            Option(
                "--scheduler",
                "Name to answer for instead of scx_gamer, as scx_NAME, for programs that know a fixed list.",
                takes_value=True,
            ),
        ),
    ),
    Command(
        "status",
        "state:status",
        "Show what runs and why, what the scheduler did, what is wrong and what to do.",
        (
            JSON,
            Option("--verbose", "Print every field of --json, a line each."),
            Option("--watch", "Repeat every second."),
            Option("--mangohud", "Print one line, for MangoHud's exec."),
        ),
    ),
    Command(
        "start", "state:start", "Allow the scheduler to attach again: now, or when a game runs."
    ),
    Command("stop", "state:stop", "Detach the scheduler and keep it off, also after a reboot."),
    Command("restart", "state:restart", "Detach and attach a new scheduler."),
    Command(
        "exec",
        "launch:run_as_game",
        "Run a command as a game until it ends: this process becomes the command.",
        words="The command and its arguments.",
    ),
    Command("version", "version:version", "Print the version.", (JSON,)),
)


def parse(args: Sequence[str]) -> tuple[Command, dict[str, object]] | None:
    """Return the command and the values of its options; None if typer must answer, as for help and errors."""
    command = next((one for one in COMMANDS if args and one.name == args[0]), None)
    if command is None:
        return None
    words = list(args[1:])
    if command.words:
        return _words(command, words)
    values: dict[str, object] = {
        option.name: None if option.takes_value else False for option in command.options
    }
    flags = {option.flag: option for option in command.options}
    while words:
        flag, equals, value = words.pop(0).partition("=")
        option = flags.get(flag)
        if option is None or (equals and not option.takes_value):
            return None
        if option.takes_value and not equals:
            if not words or words[0].startswith("-"):
                return None
            value = words.pop(0)
        values[option.name] = value if option.takes_value else True
    return command, values


def _words(command: Command, words: list[str]) -> tuple[Command, dict[str, object]] | None:
    if words[:1] == ["--"]:
        del words[0]
    elif words[:1] in (["-h"], ["--help"]):
        return None
    return (command, {"command": words}) if words else None
