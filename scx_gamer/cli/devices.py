# SPDX-License-Identifier: GPL-2.0-only
"""devices: what was found, its lane, its path. Loads nothing and needs no root."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from scx_gamer.cli import output


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("devices")
    def devices(
        as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
    ) -> None:
        """List the input devices, the lane each one opens and the path that watches it."""
        from scx_gamer.input import scan_devices

        found = [asdict(info) for info in scan_devices()]
        watched = _watched()
        for entry in found:
            entry["kind"] = _word(entry["kind"])
            entry["lane"] = _word(entry["lane"])
            entry.update(watched.get(entry["number"], {}))
        if as_json:
            output.as_json(found)
            return
        if not found:
            print("no input device on this machine")
            return
        output.table(
            ("INPUT", "NODE", "KIND", "LANE", "PATH", "RATE", "NAME"),
            (
                (
                    d["number"],
                    d["event"] or "-",
                    d["kind"],
                    d["lane"],
                    d["path"] or "-",
                    "-" if d["rate_hz"] is None else f"{d['rate_hz']:.0f}/s",
                    d["name"],
                )
                for d in found
            ),
        )


def _word(value: object) -> str:
    return str(getattr(value, "name", value)).lower()


def _watched() -> dict[int, dict[str, object]]:
    """What a running supervisor says of the devices it watches; nothing when none answers."""
    from scx_gamer import control
    from scx_gamer.cli import remote

    try:
        answer = remote.request("devices")
    except (control.ControlError, OSError):
        return {}
    return {
        d["number"]: {"path": d.get("path"), "rate_hz": d.get("rate_hz")}
        for d in (answer if isinstance(answer, list) else ())
        if isinstance(d, dict) and isinstance(d.get("number"), int)
    }
