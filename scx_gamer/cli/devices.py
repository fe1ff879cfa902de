# SPDX-License-Identifier: GPL-2.0-or-later
"""devices: each input device, its lane and why, its path. Opens no device, loads nothing and needs no root."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from scx_gamer.cli import output, remote
from scx_gamer.cli.options import Json

if TYPE_CHECKING:
    from scx_gamer.input import DeviceInfo


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("devices")
    def devices(as_json: Json = False) -> None:
        """List the input devices, the lane each one opens and why, and the path that watches it."""
        entries = _entries()
        if as_json:
            output.as_json(entries)
            return
        if not entries:
            print("no input device on this machine")
            return
        output.table(
            ("INPUT", "NODE", "KIND", "LANE", "WHY", "PATH", "RATE", "STATE", "ID", "NAME"),
            (
                (
                    d["number"],
                    d["event"] or "-",
                    d["kind"],
                    d["lane"],
                    d["reason"],
                    d["path"] or "-",
                    "-" if d["rate_hz"] is None else f"{d['rate_hz']:.0f}/s",
                    _state(d),
                    d["ids"],
                    d["name"],
                )
                for d in entries
            ),
        )


def _entries() -> list[dict[str, object]]:
    from scx_gamer.config.settings import ConfigError, load
    from scx_gamer.input import Overrides, overrides_of, scan_devices

    try:
        overrides = overrides_of(load().input_lanes)
    except ConfigError:
        overrides = Overrides()  # `doctor` and the supervisor tell what is wrong with it
    found = scan_devices(overrides=overrides)
    watched, readers = _watched(), _readers(found)
    entries: list[dict[str, object]] = []
    for info in found:
        entry = asdict(info)
        entry["kind"] = str(info.kind)
        entry["lane"] = str(info.lane)
        entry["lanes"] = {source: str(lane) for source, lane in asdict(info.lanes).items()}
        entry["readers"] = readers.get(info.event or "")
        entry.update(watched.get(info.number, {}))
        entries.append(entry)
    return entries


def _readers(found: list[DeviceInfo]) -> Mapping[str, int]:
    """Return how many processes read each node beside the supervisor; empty for a user who may not see that."""
    from scx_gamer.input.holders import holders

    if os.geteuid() != 0:
        return {}
    status = remote.ask("status")
    pid = status.get("pid") if isinstance(status, dict) else None
    nodes = {info.event for info in found if info.event and info.lanes.each()}
    return holders(nodes, but=pid if isinstance(pid, int) else 0)


def _state(entry: Mapping[str, object]) -> str:
    """Return what keeps a device's events from others, or that nobody takes them."""
    if entry["grabbed"]:
        return "grabbed"
    if entry["readers"] == 0:
        return "no reader"
    return "-"


def _watched() -> dict[int, dict[str, object]]:
    """Return the answer of a running supervisor about its devices; empty when none answers."""
    answer = remote.ask("devices")
    return {
        d["number"]: {key: d.get(key) for key in ("path", "rate_hz", "grabbed")}
        for d in (answer if isinstance(answer, list) else ())
        if isinstance(d, dict) and isinstance(d.get("number"), int)
    }
