# SPDX-License-Identifier: GPL-2.0-only
"""net: background traffic, its rates and its limits."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from scx_gamer.cli import output
from scx_gamer.config.network import format_rate
from scx_gamer.system.exit_codes import NOT_RUNNING
from scx_gamer.system.text import printable

Rate = Annotated[str | None, typer.Option(help='Such as "8 Mbit/s" or "1 MB/s".')]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Hold background traffic to a rate.", no_args_is_help=True)

    @group.command("list")
    def list_(
        seconds: Annotated[float, typer.Option(min=0.1, max=60.0, help="How long to look.")] = 1.0,
        every: Annotated[bool, typer.Option("--all", help="Silent ones too.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
    ) -> None:
        """List the programs that use the network and their present rates; no packet is captured."""
        rows = _rates(seconds)
        if not every:
            rows = [row for row in rows if row["down_bytes_per_s"] or row["up_bytes_per_s"]]
        if as_json:
            output.as_json(rows)
        elif not rows:
            print("nothing uses the network")
        else:
            output.table(("DOWN", "UP", "STATE", "PROGRAMS", "CGROUP"), map(_row, rows))

    @group.command("limit")
    def limit(
        target: Annotated[
            str,
            typer.Argument(help="A process number, a unit, exe:NAME, app:NAME or unit:PATTERN."),
        ],
        down: Rate = None,
        up: Rate = None,
        lasts: Annotated[
            str | None, typer.Option("--for", help='How long, such as "30m"; else until released.')
        ] = None,
        scope: Annotated[
            str, typer.Option(help="internet leaves private addresses alone; or all.")
        ] = "internet",
        kind: Annotated[
            str, typer.Option(help="cgroup: all that shares the cgroup; task: this program alone.")
        ] = "cgroup",
    ) -> None:
        """Hold a program's traffic to a rate, now."""
        from scx_gamer import control

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
        target: Annotated[str | None, typer.Argument(help="As given to limit; else all.")] = None,
    ) -> None:
        """End a limit that `net limit` set, or all of them."""
        from scx_gamer import control

        try:
            answer = control.request("net_release", target=target)
        except control.ControlError as err:
            left = _take_leftovers() if err.code == NOT_RUNNING and not target else 0
            if not left:
                raise
            print(f"no supervisor runs; took away {left} programs that one left")
        else:
            print(f"{answer['released']} limits released")

    @group.command("status")
    def status(
        as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
    ) -> None:
        """Show what is limited, for whom, and what became of its traffic."""
        from scx_gamer import control

        answer = control.request("net_status")
        if as_json:
            output.as_json(answer)
        else:
            _show(answer)

    app.add_typer(group, name="net")


def _rates(seconds: float) -> list[dict[str, Any]]:
    """Rates of each cgroup between two readings of the meter."""
    from scx_gamer import control

    first = control.request("net_measure")
    if sys.stderr.isatty():
        print(f"measuring for {seconds:g} s ...", end="\r", file=sys.stderr, flush=True)
    left = seconds
    while left > 0:  # in steps, so that the meter is not taken for forgotten
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


def _take_leftovers() -> int:
    """Detach what a supervisor left that is no more; how many programs. The kernel lets root see them."""
    from scx_gamer.libbpf import BpfError
    from scx_gamer.netlimit import cgroups, programs

    try:
        mount = cgroups.hierarchy().mount
        return programs.remove_leftovers(mount) if mount is not None else 0
    except (OSError, BpfError) as err:
        print(f"what one may have left cannot be looked for: {err}", file=sys.stderr)
        return 0


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    state = "game" if row["game"] else "limited" if row["limited"] else "-"
    rates = (_rate(row["down_bytes_per_s"]), _rate(row["up_bytes_per_s"]))
    return (*rates, state, ", ".join(row["programs"]) or "-", row["cgroup"])


def _rate(rate: int) -> str:
    return format_rate(rate) if rate else "-"


def _terms(limit: dict[str, Any]) -> str:
    """Such as `8 Mbit/s down, 4 Mbit/s up, internet only`."""
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
        print("nothing is limited")
    for wish in answer["wishes"]:
        who = "the game's settings" if wish["origin"] == "settings" else "the user"
        print(printable(f"{wish['target']} ({who}): {_terms(wish)}: {wish['processes']} processes"))
        for refused in wish["refused"]:
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
        print(f"{answer['orphans']} cgroups from which our programs could not be taken yet")


def _bytes(count: int) -> str:
    for prefix, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {prefix}B"
    return f"{count} B"


def _share(row: dict[str, Any], way: str) -> str:
    all_packets = row[f"{way}_packets"] + row[f"{way}_dropped_packets"]
    return f"{100 * row[f'{way}_dropped_packets'] / all_packets:.1f} %" if all_packets else "-"
