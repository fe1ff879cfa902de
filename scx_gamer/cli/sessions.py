# SPDX-License-Identifier: GPL-2.0-or-later
"""sessions: records of sessions of games, from the supervisor, or for root from its database while none runs."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from scx_gamer import control
from scx_gamer.cli import output
from scx_gamer.cli.commands import UsageError
from scx_gamer.cli.options import Json
from scx_gamer.system.exit_codes import NOT_RUNNING
from scx_gamer.system.text import ago, time_text

_ID = typer.Argument(
    metavar="ID", min=1, max=(1 << 63) - 1, help="A session's number, as of the list."
)
Id = Annotated[int, _ID]
_HEAD = ("ID", "BEGAN", "GAME", "LASTED", "FPS", "1 % LOW", "ON TIME", "WAITS, 99 %", "STATE")
_PLAIN = (
    "id", "uid", "game", "app_id", "profile", "began", "duration_s", "state", "attached_s", "boosts",
    "attaches",
)  # fmt: skip
_NUMBERS = ("count", "mean_us", "p50_us", "p99_us", "p999_us", "longest_us")
_FRAMES = (
    "source", "count", "mean_fps", "low_1_fps", "low_01_fps", "missed", "target_ms", "longest_ms",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Show how games ran.", no_args_is_help=False)

    @group.callback(invoke_without_command=True)
    def sessions(context: typer.Context) -> None:
        """Show how games ran. Without a command, list the sessions."""
        if context.invoked_subcommand is None:
            _print_list(20, False)

    @group.command("list")
    def list_(
        count: Annotated[int, typer.Option(min=1, max=100, help="Sessions to show.")] = 20,
        as_json: Json = False,
    ) -> None:
        """List your sessions, the newest first; root sees those of all users."""
        _print_list(count, as_json)

    @group.command("show")
    def show(session: Id, as_json: Json = False) -> None:
        """Show all figures of a session; with --json also its timeline."""
        from scx_gamer.sessions import summary

        record = _one(session)
        if as_json:
            output.as_json(record)
            return
        print(summary.sentence(record))
        output.pairs(summary.rows(record))

    @group.command("compare")
    def compare(first: Id, second: Id) -> None:
        """Show two sessions side by side. Sessions differ in more than the scheduler: it is no proof."""
        from scx_gamer.sessions import summary

        left, right = dict(summary.rows(_one(first))), dict(summary.rows(_one(second)))
        names = list(dict.fromkeys([*left, *right]))
        output.table(
            ("", str(first), str(second)),
            ((name, left.get(name, "-"), right.get(name, "-")) for name in names),
        )

    @group.command("export")
    def export(
        as_json: Annotated[bool, typer.Option("--json", help="All figures, as JSON.")] = False,
        as_csv: Annotated[bool, typer.Option("--csv", help="One line for each session.")] = False,
    ) -> None:
        """Print all your sessions, root's those of all users."""
        if as_json == as_csv:
            raise UsageError("give one of --json and --csv")
        if as_json:
            output.as_json(list(_all()))
            return
        writer: csv.DictWriter[str] | None = None
        for row in map(flat, _all()):
            if writer is None:
                writer = csv.DictWriter(sys.stdout, row.keys())
                writer.writeheader()
            writer.writerow(row)

    @group.command("delete")
    def delete(
        session: Annotated[
            int | None, typer.Argument(metavar="[ID]", min=1, max=(1 << 63) - 1)
        ] = None,
        every: Annotated[bool, typer.Option("--all", help="All your sessions.")] = False,
    ) -> None:
        """Delete a session that has ended, or all of yours; root's those of all users."""
        if (session is None) != every:
            raise UsageError("give a session's number or --all")
        answer = _ask("session_delete", **({"all": True} if every else {"id": session}))
        print(f"{answer['deleted']} sessions deleted")

    @group.command("report")
    def report(
        session: Annotated[
            int | None, typer.Argument(metavar="[ID]", min=1, max=(1 << 63) - 1)
        ] = None,
        to: Annotated[
            Path | None, typer.Option("--to", help="The file; by default in this folder.")
        ] = None,
    ) -> None:
        """Write one HTML file about a session, by default the newest one that ended."""
        from scx_gamer.sessions import SessionError
        from scx_gamer.sessions.record import RUNNING
        from scx_gamer.sessions.report import html

        if session is None:
            ended = (row["id"] for row in _all() if row["state"] != RUNNING)
            session = next(ended, None)
            if session is None:
                raise SessionError(
                    "no session has ended yet", hint="play a game for a minute first"
                )
        path = to or Path(f"scx-gamer-session-{session}.html")
        page = html(_one(session)).encode("utf-8", "replace")
        # never over a file that is there: root may write in a folder of somebody else's
        with open(path, "xb") as file:
            file.write(page)
        print(path)

    app.add_typer(group, name="sessions")


def _ask(op: str, **args: Any) -> Any:
    """Ask the supervisor. While none runs, root reads the database itself."""
    try:
        return control.request(op, **args)
    except control.ControlError as err:
        if err.code != NOT_RUNNING or os.geteuid() != 0:
            raise
        return _by_file(op, args, err)


def _by_file(op: str, args: Mapping[str, Any], unreachable: Exception) -> Any:
    from scx_gamer.sessions.database import MAX_ROWS, Database
    from scx_gamer.system.paths import paths

    path = paths().sessions_file
    if not path.exists():
        raise unreachable
    with Database(path, create=op == "session_delete") as db:
        if op == "sessions":
            return db.listing(0, (), count=args.get("count", MAX_ROWS), before=args.get("before"))
        if op == "session":
            return db.one(args["id"], 0, ())
        db.mark_cut()
        return {"deleted": db.delete(args.get("id"), 0)}


def _one(session: int) -> dict[str, Any]:
    record = _ask("session", id=session)
    assert isinstance(record, dict)
    return record


def _all() -> Iterator[dict[str, Any]]:
    """Yield every record, the newest first, page by page."""
    before: dict[str, int] = {}
    while page := _ask("sessions", **before):
        yield from page
        before = {"before": page[-1]["id"]}
        time.sleep(0.05)  # below the rate at which the supervisor answers one user


def _print_list(count: int, as_json: bool) -> None:
    rows = list(islice(_all(), count))
    if as_json:
        output.as_json(rows)
    elif not rows:
        print("no sessions yet: one is recorded while a game runs")
    else:
        output.table(_HEAD, map(_row, rows))


def _row(record: Mapping[str, Any]) -> tuple[object, ...]:
    from scx_gamer.sessions import summary

    frames, waits, share = record["frames"], summary.game_waits(record), summary.on_time(record)
    return (
        record["id"],
        time.strftime("%Y-%m-%d %H:%M", time.localtime(record["began"])),
        summary.title(record),
        ago(record["duration_s"]),
        f"{frames['mean_fps']:.1f}" if frames else "-",
        f"{frames['low_1_fps']:.1f}" if frames else "-",
        "-" if share is None else f"{share:.1f} %",
        time_text(waits["p99_us"]) if waits else "-",
        record["state"] if summary.was_on(record) else f"{record['state']}, scheduler off",
    )


def flat(record: Mapping[str, Any]) -> dict[str, object]:
    """Return a record as a row of a table, always with the same columns; empty where nothing was measured."""
    from scx_gamer.sessions import summary
    from scx_gamer.sessions.record import merged, percentiles

    row: dict[str, object] = {key: _cell(record[key]) for key in _PLAIN}
    row["exits"] = sum(record["exits"].values())
    row["held_back"] = _cell(" ".join(record["held_back"]))
    row["watts"] = summary.watts(record)
    row["gpu_busy"] = summary.gpu_share(record)
    lost = record["taken"]
    row["taken_s"] = lost["others_s"] if lost else None
    row["taken_by"] = _cell(" ".join(one["program"] for one in lost["programs"])) if lost else None
    found = record["input"]
    groups = {
        "game": summary.game_waits(record),
        "others": merged(record["waits"], summary.others(record)),
        "input": percentiles(found) if found else None,
    }
    for name, one in groups.items():
        for key in _NUMBERS[: None if name != "input" else -1]:
            row[f"{name}_{key}"] = one[key] if one else None
    for key in _FRAMES:
        row[f"frames_{key}"] = _cell(record["frames"][key]) if record["frames"] else None
    return row


def _cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: the game names itself."""
    return (
        f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
    )
