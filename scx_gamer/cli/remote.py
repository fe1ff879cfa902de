# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests to the running supervisor, by the bus or by its own socket.

The bus knows who asks and lets polkit decide; the socket knows root and the others. Root takes the socket first, where
nobody else can be in the way; others the bus. Where the first way is closed, the second is tried. A supervisor in
directories of its own (SCX_GAMER_RUNTIME_DIR) is not the one on the bus, and asked by its socket alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scx_gamer import control
from scx_gamer.control import ControlError, UnreachableError
from scx_gamer.control.operations import OPERATIONS, Access
from scx_gamer.dbus import ERROR_PREFIX
from scx_gamer.system.exit_codes import BAD_CONFIG, FAILED, NO_PERMISSION, USAGE

if TYPE_CHECKING:
    from scx_gamer.dbus.client import BusClient

_TIMEOUT_S = 15.0
_INTERACTIVE_S = 125.0
_CODES = {
    "org.freedesktop.DBus.Error.AccessDenied": NO_PERMISSION,
    "org.freedesktop.DBus.Error.InvalidArgs": USAGE,
    f"{ERROR_PREFIX}BadConfiguration": BAD_CONFIG,
}


class _ClosedError(ControlError):
    """The bus cannot be asked: nobody is there (`absent`), or it took no more of ours."""

    def __init__(self, what: str, *, absent: bool) -> None:
        super().__init__(what, FAILED)
        self.absent = absent


def request(op: str, *, timeout_s: float | None = None, **args: Any) -> Any:
    """Return the result of one operation; raises ControlError."""
    if os.environ.get("SCX_GAMER_RUNTIME_DIR"):
        return _by_socket(op, timeout_s, args)
    if os.geteuid() == 0:
        try:
            return _by_socket(op, timeout_s, args)
        except UnreachableError as socket_error:
            try:
                return _by_bus(op, timeout_s, args)
            except _ClosedError:
                raise socket_error from None
    try:
        return _by_bus(op, timeout_s, args)
    except _ClosedError as bus_error:
        try:
            return _by_socket(op, timeout_s, args)
        except ControlError:
            if bus_error.absent:
                raise
            raise bus_error from None


def ask(op: str) -> Any:
    """Return the result of an operation without arguments; None where no supervisor answers it."""
    try:
        return request(op)
    except (ControlError, OSError):
        return None


def _by_socket(op: str, timeout_s: float | None, args: Mapping[str, Any]) -> Any:
    return control.request(op, timeout_s=timeout_s or _TIMEOUT_S, **args)


def _by_bus(op: str, timeout_s: float | None, args: Mapping[str, Any]) -> Any:
    """Raises _ClosedError where the socket may do better."""
    spec = OPERATIONS[op]
    changes = bool(spec.member) and spec.access is not Access.ALL
    if not changes and not spec.query:
        raise _ClosedError(f"the bus has no {op}", absent=True)
    from scx_gamer.dbus import BusError
    from scx_gamer.dbus.client import BusClient, NoService

    try:
        with BusClient(timeout_s or _TIMEOUT_S) as bus:
            if changes:
                return _change(bus, op, args)
            return json.loads(bus.call("Query", "s", [op])[0])
    except NoService as err:
        raise _ClosedError(err.what, absent=True) from err
    except BusError as err:
        if err.name in _CODES:
            raise ControlError(err.what, _CODES[err.name]) from err
        if err.name and not err.name.startswith("org.freedesktop.DBus.Error."):
            raise ControlError(err.what, FAILED) from err
        raise _ClosedError(err.what, absent=False) from err


def _change(bus: BusClient, op: str, args: Mapping[str, Any]) -> Any:
    from scx_gamer.dbus import INTERFACE
    from scx_gamer.dbus.client import may_ask_for_a_password
    from scx_gamer.dbus.interface import interfaces

    spec = OPERATIONS[op]
    signature = interfaces()[INTERFACE].methods[spec.member].takes
    interactive = may_ask_for_a_password()
    if interactive:
        bus.extend(_INTERACTIVE_S)
    body = [args.get(name, "") for name in spec.arguments]
    bus.call(spec.member, signature, body, interactive=interactive)
    status = json.loads(bus.call("Query", "s", ["status"])[0])
    return status.get("profile", status) if op in ("profile_set", "reload") else status


def mark(pid: int, start: int | None, deadline: float) -> None:
    """Mark a process of the caller as a game. Raises ControlError. Needs no permission.

    The socket is asked first: the library of the bus takes longer to load than the answer.

    `start` is in clock ticks, so that a late request does not mark the next process with the same pid. `deadline` is on
    the monotonic clock and covers all attempts.
    """
    try:
        if os.geteuid() == 0:
            control.request("game_add", timeout_s=_left_s(deadline), pid=pid, start=start)
        else:
            left_s = _left_s(deadline)
            control.request("hint", timeout_s=left_s, kind="gamemode", pid=pid, source="exec")
    except UnreachableError:
        if os.geteuid() == 0 or os.environ.get("SCX_GAMER_RUNTIME_DIR"):
            raise
        if not _mark_by_bus(pid, deadline):
            raise


def _mark_by_bus(pid: int, deadline: float) -> bool:
    """Return True if the service took the mark, False if the bus is closed too. Raises ControlError for a refusal."""
    from scx_gamer.dbus import SESSION_INTERFACE, BusError
    from scx_gamer.dbus.client import BusClient

    try:
        with BusClient(_left_s(deadline)) as bus:
            report = [pid, "exec", True]
            bus.call("ReportGameHint", "usb", report, interface=SESSION_INTERFACE)
            return True
    except BusError as err:
        if err.name in _CODES:
            raise ControlError(err.what, _CODES[err.name]) from err
        return False


def _left_s(deadline: float) -> float:
    return max(round(deadline - time.monotonic(), 2), 0.05)
