# SPDX-License-Identifier: GPL-2.0-only
"""Asking the running supervisor: over the bus where there is one, else over its own socket.

The bus knows who asks and lets polkit decide; the socket knows root and the others. A supervisor in directories of its
own (SCX_GAMER_RUNTIME_DIR) is not the one on the bus, and asked by its socket.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from scx_gamer import control
from scx_gamer.control import ControlError
from scx_gamer.system.exit_codes import BAD_CONFIG, FAILED, NO_PERMISSION, USAGE

if TYPE_CHECKING:
    from scx_gamer.dbus.client import BusClient

_TIMEOUT_S = 15.0
_INTERACTIVE_S = 125.0
_CHANGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "start": ("Start", "s", ("profile",)),
    "stop": ("Stop", "", ()),
    "restart": ("Restart", "", ()),
    "reload": ("Reload", "", ()),
    "game_add": ("AddGame", "u", ("pid",)),
    "game_remove": ("RemoveGame", "u", ("pid",)),
    "profile_set": ("SetProfile", "sb", ("name", "sticky")),
}
_CODES = {
    "org.freedesktop.DBus.Error.AccessDenied": NO_PERMISSION,
    "org.freedesktop.DBus.Error.InvalidArgs": USAGE,
    "org.scxgamer.Supervisor1.Error.BadConfiguration": BAD_CONFIG,
}


def request(op: str, *, timeout_s: float | None = None, **args: Any) -> Any:
    """The result of one operation; raises ControlError."""
    if not os.environ.get("SCX_GAMER_RUNTIME_DIR"):
        from scx_gamer.dbus import BusError
        from scx_gamer.dbus.client import BusClient, NoService

        try:
            with BusClient(timeout_s or _TIMEOUT_S) as bus:
                if op in _CHANGES:
                    return _change(bus, op, args)
                if not args:
                    return json.loads(bus.call("Query", "s", [op])[0])
        except NoService:
            pass  # no bus, or nobody there: the socket tells more
        except BusError as err:
            if not err.name.endswith("UnknownMethod") and op in _CHANGES:
                raise ControlError(err.what, _CODES.get(err.name, FAILED)) from err
            # a question that the bus does not answer is asked again below, for the same words as ever
    if timeout_s is not None:
        args["timeout_s"] = timeout_s
    return control.request(op, **args)


def _change(bus: BusClient, op: str, args: dict[str, Any]) -> Any:
    from scx_gamer.dbus.client import may_ask_for_a_password

    member, signature, names = _CHANGES[op]
    interactive = may_ask_for_a_password()
    if interactive:
        bus.extend(_INTERACTIVE_S)
    body = [args.get(name, "") for name in names]
    bus.call(member, signature, body, interactive=interactive)
    status = json.loads(bus.call("Query", "s", ["status"])[0])
    return status.get("profile", status) if op in ("profile_set", "reload") else status


def mark(pid: int, start: int | None, deadline: float) -> None:
    """Say that a process of our own is a game; raises ControlError. Needs no permission on the bus.

    `start`: in clock ticks, so that an answer that comes late is not about the next process with this number.
    `deadline`: on the monotonic clock, for everything that is tried.
    """
    if os.geteuid() != 0 and not os.environ.get("SCX_GAMER_RUNTIME_DIR"):
        from scx_gamer.dbus import SESSION_INTERFACE, BusError
        from scx_gamer.dbus.client import BusClient, NoService

        try:
            with BusClient(_left_s(deadline)) as bus:
                report = [pid, "exec", True]
                bus.call("ReportGameHint", "usb", report, interface=SESSION_INTERFACE)
                return
        except NoService:
            pass
        except BusError as err:
            raise ControlError(err.what, _CODES.get(err.name, FAILED)) from err
    control.request("game_add", timeout_s=_left_s(deadline), pid=pid, start=start)


def _left_s(deadline: float) -> float:
    return max(round(deadline - time.monotonic(), 2), 0.05)
