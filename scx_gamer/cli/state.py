# SPDX-License-Identifier: GPL-2.0-or-later
"""status, start, stop, restart: requests to the running supervisor."""

from __future__ import annotations

import shutil
import sys
import time

from scx_gamer import control
from scx_gamer.cli import output, remote
from scx_gamer.cli.commands import UsageError
from scx_gamer.system.exit_codes import NOT_RUNNING

_CLEAR = "\x1b[H\x1b[J"


def status(as_json: bool, verbose: bool, watch: bool, mangohud: bool) -> int:
    """Show the supervisor's state, once or every second."""
    chosen = {"--json": as_json, "--verbose": verbose, "--mangohud": mangohud}
    if len(forms := [flag for flag, on in chosen.items() if on]) > 1:
        raise UsageError(f"{' and '.join(forms)} exclude each other")
    while True:
        _show(forms[0] if forms else "", clear=watch and sys.stdout.isatty())
        if not watch:
            return 0
        time.sleep(1)


def start() -> int:
    """Request a start."""
    return _request("start")


def stop() -> int:
    """Request a stop that persists over a reboot."""
    return _request("stop")


def restart() -> int:
    """Request a new scheduler."""
    return _request("restart")


def _show(form: str, *, clear: bool) -> None:
    """Print the status once, as the option `form` wants it. With `clear`, no supervisor is a state, and no error."""
    from scx_gamer.cli import summary
    from scx_gamer.service import hud

    try:
        answer = remote.request("status" if form else "snapshot")
    except control.ControlError as err:
        if form == "--mangohud":  # the overlay has one line, so show the error as a state
            answer = {"state": "not running"}
        elif clear and err.code == NOT_RUNNING:
            print(f"{_CLEAR}{err.what}", flush=True)
            return
        else:
            raise
    if clear:
        print(_CLEAR, end="")
    if form == "--mangohud":
        print(hud.line(answer), flush=True)
    elif form == "--json":
        output.as_json(answer)
    elif form == "--verbose":
        output.pairs(_lines(answer))
    else:
        print("\n".join(summary.lines(answer, shutil.get_terminal_size().columns)))
    sys.stdout.flush()


def _request(op: str) -> int:
    answer = remote.request(op)
    state = answer.get("state") if isinstance(answer, dict) else None
    if state:
        print(state)
    return 0


def _lines(answer: object, prefix: str = "") -> list[tuple[str, object]]:
    """Flatten nested dictionaries to dotted names."""
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
