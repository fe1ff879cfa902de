# SPDX-License-Identifier: GPL-2.0-or-later
"""net: rates and limits of background traffic."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from scx_gamer import control
from scx_gamer.cli import output
from scx_gamer.cli.options import Json
from scx_gamer.config.network import format_rate
from scx_gamer.system.exit_codes import NOT_RUNNING
from scx_gamer.system.text import printable

Rate = Annotated[str | None, typer.Option(help='Such as "8 Mbit/s" or "1 MB/s".')]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Limit background traffic.", no_args_is_help=True)

    @group.command("list")
    def list_(
        seconds: Annotated[
            float, typer.Option(min=0.1, max=60.0, help="Duration of the measurement.")
        ] = 1.0,
        every: Annotated[
            bool, typer.Option("--all", help="Include programs without traffic.")
        ] = False,
        as_json: Json = False,
    ) -> None:
        """List programs that use the network and their present rates. No packet is captured."""
        rows = _rates(seconds)
        if not every:
            rows = [row for row in rows if row["down_bytes_per_s"] or row["up_bytes_per_s"]]
        if as_json:
            output.as_json(rows)
        elif not rows:
            print("no program uses the network")
        else:
            output.table(("DOWN", "UP", "STATE", "PROGRAMS", "CGROUP"), map(_row, rows))

    @group.command("limit")
    def limit(
        target: Annotated[
            str, typer.Argument(help="A process ID, a unit, exe:NAME, app:NAME or unit:PATTERN.")
        ],
        down: Rate = None,
        up: Rate = None,
        lasts: Annotated[
            str | None,
            typer.Option("--for", help='Duration, such as "30m"; by default until released.'),
        ] = None,
        scope: Annotated[
            str, typer.Option(help="internet (excludes private addresses) or all.")
        ] = "internet",
        kind: Annotated[
            str, typer.Option(help="cgroup: all processes of the cgroup; task: this program alone.")
        ] = "cgroup",
    ) -> None:
        """Limit a program's traffic to a rate now."""
        asked: dict[str, Any] = {
            "target": target,
            "down": down,
            "up": up,
            "for": lasts,
            "scope": scope,
            "kind": kind,
        }
        answer = control.request("net_limit", **asked)
        print(f"{answer['processes']} processes limited: {_terms(answer)}")
        for refused in answer["refused"]:
            print(printable(f"not limited: {refused['cgroup']}: {refused['why']}", 400))

    @group.command("release")
    def release(
        target: Annotated[
            str | None, typer.Argument(help="As given to limit; by default all.")
        ] = None,
    ) -> None:
        """End a limit set by `net limit`, or all of them."""
        try:
            answer = control.request("net_release", target=target)
        except control.ControlError as err:
            left = _remove_leftovers() if err.code == NOT_RUNNING and not target else 0
            if not left:
                raise
            print(f"no supervisor runs; detached {left} programs of an earlier one")
        else:
            print(f"{answer['released']} limits released")

    @group.command("status")
    def status(as_json: Json = False) -> None:
        """Show the limits, their targets and the limited traffic."""
        answer = control.request("net_status")
        if as_json:
            output.as_json(answer)
        else:
            _show(answer)

    app.add_typer(group, name="net")


def _rates(seconds: float) -> list[dict[str, Any]]:
    """Return the rates of each cgroup between two readings of the meter."""
    first = control.request("net_measure")
    if sys.stderr.isatty():
        print(f"measuring for {seconds:g} s ...", end="\r", file=sys.stderr, flush=True)
    left = seconds
    while left > 0:  # in steps: the supervisor stops the meter some seconds after the last reading
        time.sleep(min(left, 2.0))
        left -= 2.0
        second = control.request("net_measure")
    lasted = (second["time_ns"] - first["time_ns"]) / 1e9
    before = {row["id"]: row for row in first["cgroups"]}
    rows = []
    for row in second["cgroups"]:
        old = before.get(row["id"], {"down_bytes": 0, "up_bytes": 0})
        shown = {name: row[name] for name in ("cgroup", "programs", "processes", "limited", "game")}
        for way in ("down", "up"):
            count = max(0, row[f"{way}_bytes"] - old[f"{way}_bytes"])
            shown[f"{way}_bytes_per_s"] = round(count / lasted)
        rows.append(shown)
    return sorted(rows, key=lambda row: -(row["down_bytes_per_s"] + row["up_bytes_per_s"]))


def _remove_leftovers() -> int:
    """Detach programs of an earlier supervisor and return their number. Needs root."""
    from scx_gamer.libbpf import BpfError
    from scx_gamer.netlimit import cgroups, programs

    try:
        mount = cgroups.hierarchy().mount
        return programs.remove_leftovers(mount) if mount is not None else 0
    except (OSError, BpfError) as err:
        print(f"cannot search for programs of an earlier supervisor: {err}", file=sys.stderr)
        return 0


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    state = "game" if row["game"] else "limited" if row["limited"] else "-"
    rates = (_rate(row["down_bytes_per_s"]), _rate(row["up_bytes_per_s"]))
    return (*rates, state, ", ".join(row["programs"]) or "-", row["cgroup"])


def _rate(rate: int) -> str:
    return format_rate(rate) if rate else "-"


def _terms(limit: dict[str, Any]) -> str:
    """Format a limit, such as `8 Mbit/s down, 4 Mbit/s up, internet only`."""
    parts = [
        f"{format_rate(limit[f'{way}_bytes_per_s'])} {way}"
        for way in ("down", "up")
        if limit[f"{way}_bytes_per_s"]
    ]
    parts.append("internet only" if limit["scope"] == "internet" else "all addresses")
    if limit["kind"] == "task":
        parts.append("named processes only")
    if limit.get("left_s") is not None:
        parts.append(f"{limit['left_s']:.0f} s left")
    return ", ".join(parts)


def _show(answer: dict[str, Any]) -> None:
    if not answer["available"]:
        print(f"not available: {printable(answer['why'], 400)}")
    if not answer["wishes"]:
        print("no limits")
    for request in answer["wishes"]:
        origin = "the game's settings" if request["origin"] == "settings" else "the user"
        print(
            printable(
                f"{request['target']} ({origin}): {_terms(request)}: {request['processes']} processes"
            )
        )
        for refused in request["refused"]:
            print(printable(f"  not limited: {refused['cgroup']}: {refused['why']}", 400))
    if answer["limits"]:
        output.table(
            ("CGROUP", "DOWN", "UP", "RECEIVED", "DROPPED", "SENT", "DROPPED"),
            (
                (
                    row["cgroup"],
                    _rate(row["down_bytes_per_s"]),
                    _rate(row["up_bytes_per_s"]),
                    _bytes(row["down_bytes"]),
                    _share(row, "down"),
                    _bytes(row["up_bytes"]),
                    _share(row, "up"),
                )
                for row in answer["limits"]
            ),
        )
    if answer["orphans"]:
        print(
            f"{answer['orphans']} cgroups still have our programs after a failed detach; retrying"
        )


def _bytes(count: int) -> str:
    for prefix, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {prefix}B"
    return f"{count} B"


def _share(row: dict[str, Any], way: str) -> str:
    all_packets = row[f"{way}_packets"] + row[f"{way}_dropped_packets"]
    return f"{100 * row[f'{way}_dropped_packets'] / all_packets:.1f} %" if all_packets else "-"
