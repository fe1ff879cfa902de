# SPDX-License-Identifier: GPL-2.0-or-later
"""trace: questions about a running game, answered by probes compiled on demand."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from scx_gamer.cli import output, remote
from scx_gamer.cli.options import Json
from scx_gamer.system.exit_codes import USAGE
from scx_gamer.system.text import printable

_Pid = Annotated[
    int | None, typer.Argument(min=1, max=2**22, help="The process; by default the running game.")
]
_Seconds = Annotated[float, typer.Option("--seconds", min=0.1, max=3600, help="Sampling time.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Trace a running game with probes of bcc. Needs root.", no_args_is_help=True
    )

    @group.command("wakeups")
    def wakeups(pid: _Pid = None, seconds: _Seconds = 10, as_json: Json = False) -> None:
        """Show how long woken threads wait for a CPU, by waker."""
        _show("wakeups", _game(pid), seconds, as_json, "WAKER")

    @group.command("frames")
    def frames(
        pid: _Pid = None,
        seconds: _Seconds = 10,
        as_json: Json = False,
        function: Annotated[
            str,
            typer.Option(
                "--function",
                help="FILE:SYMBOL that is called once per frame; by default page flips."
                " A uprobe: it writes a breakpoint into the game's code, which anti-cheat may punish.",
            ),
        ] = "",
    ) -> None:
        """Show the time between frames: page flips, or calls of a chosen function."""
        _show("frames", _game(pid), seconds, as_json, "THREAD", function)

    @group.command("who-preempts")
    def who_preempts(pid: _Pid = None, seconds: _Seconds = 10, as_json: Json = False) -> None:
        """Show the threads that preempt a process, and for how long."""
        _show("who-preempts", _game(pid), seconds, as_json, "TAKEN BY")

    @group.command("input")
    def input_(seconds: _Seconds = 10, as_json: Json = False) -> None:
        """Show the time from an input event to the first run of its reader."""
        _show("input", None, seconds, as_json, "READER")

    app.add_typer(group, name="trace")


def _game(pid: int | None) -> int:
    """Return `pid`, or the first game that the supervisor knows. Raises TraceError if no game runs."""
    if pid is not None:
        return pid
    from scx_gamer.trace import TraceError

    games = remote.request("games")
    if not games:
        raise TraceError("no game runs", "give the PID of a process", USAGE)
    return int(games[0]["pid"])


def _show(
    kind: str, pid: int | None, seconds: float, as_json: bool, head: str, function: str = ""
) -> None:
    from scx_gamer.trace import Question, ask

    if function:
        warning = (
            "a breakpoint is written into the game's code while this runs: not with anti-cheat"
        )
        print(f"scx-gamer: {warning}", file=sys.stderr)
    if sys.stderr.isatty():
        print(f"sampling for {seconds:g} s; Ctrl-C ends it early", file=sys.stderr)
    answer = ask(Question(kind, pid, seconds, function))
    if as_json:
        output.as_json(answer.as_dict())
        return
    if not answer.groups:
        print(f"no events in {answer.seconds:g} s")
    else:
        output.table((head, "COUNT", "P50", "P99", "MAX"), answer.rows())
        print()
        for line in answer.histogram():
            print(line)
    for note in answer.notes:
        print(f"note: {printable(note)}")
    if answer.lost:
        print(f"note: {answer.lost} values were lost because a table was full")
