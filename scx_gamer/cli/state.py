# SPDX-License-Identifier: GPL-2.0-only
"""status, start, stop, restart: asked of the running supervisor."""

from __future__ import annotations

import sys
import time

from scx_gamer.cli import output
from scx_gamer.cli.commands import UsageError
from scx_gamer.system.exit_codes import NOT_RUNNING

_CLEAR = "\x1b[H\x1b[J"


def status(as_json: bool, watch: bool, mangohud: bool) -> int:
    """Show the supervisor's state, once or every second."""
    if as_json and mangohud:
        raise UsageError("--json and --mangohud: choose one")
    while True:
        _show(as_json, mangohud, clear=watch and sys.stdout.isatty())
        if not watch:
            return 0
        time.sleep(1)


def start() -> int:
    """Ask for a start."""
    return _ask("start")


def stop() -> int:
    """Ask for a stop that holds over a reboot."""
    return _ask("stop")


def restart() -> int:
    """Ask for a new scheduler."""
    return _ask("restart")


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


def _ask(op: str) -> int:
    from scx_gamer.cli import remote

    answer = remote.request(op)
    state = answer.get("state") if isinstance(answer, dict) else None
    if state:
        print(state)
    return 0


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
