# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the machine runs on battery, by UPower: asked once and told of changes, so nothing polls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scx_gamer.dbus import wire
from scx_gamer.dbus.connection import Connection
from scx_gamer.dbus.endpoint import DBUS, PROPERTIES

UPOWER, _PATH = "org.freedesktop.UPower", "/org/freedesktop/UPower"
_TIMEOUT_S = 10.0  # the bus may have to start it


class PowerSource:
    """Follows UPower's OnBattery while watch() says so; `on_battery` is None as long as it is unknown."""

    def __init__(self, changed: Callable[[bool], None]) -> None:
        self._changed = changed
        self._bus: Connection | None = None
        self._watched = self._asked = False
        self._owner = ""  # of the answers, which signals must come from
        self.on_battery: bool | None = None
        self.why = ""  # it is unknown though it is watched

    def connected(self, bus: Connection) -> None:
        self._bus = bus
        self._ask()

    def lost(self) -> None:
        """Keep the last word: the machine's plug has not moved with the bus."""
        self._bus, self._asked, self._owner = None, False, ""

    def watch(self, wanted: bool) -> None:
        """Watch from the first time on that it is wanted: UPower is started for nobody who does not."""
        self._watched |= wanted
        self._ask()

    def _ask(self) -> None:
        bus = self._bus
        if bus is None or not self._watched or self._asked:
            return
        self._asked = True
        for rule in (
            f"sender='{UPOWER}',path='{_PATH}',interface='{PROPERTIES}'",
            f"sender='{DBUS}',member='NameOwnerChanged',arg0='{UPOWER}'",
        ):
            rules = [f"type='signal',{rule}"]
            bus.call(wire.to_bus("AddMatch", "s", rules), lambda _reply, _error: None)
        self._get(bus)

    def _get(self, bus: Connection) -> None:
        body = [UPOWER, "OnBattery"]
        message = wire.call(UPOWER, _PATH, PROPERTIES, "Get", "ss", body, start=True)
        bus.call(message, self._answered, _TIMEOUT_S)

    def _answered(self, reply: Any, error: str) -> None:
        if reply is None or reply.signature != "v":
            self.why = f"UPower does not say whether this is battery: {error or 'odd answer'}"
            return
        self._owner, self.why = str(reply.sender), ""
        self._take(reply.body[0].value)

    def on_signal(self, message: Any) -> None:
        """Take a change of UPower's properties; ask one that has started."""
        if message.sender == DBUS and message.member == "NameOwnerChanged":
            name, _, owner = message.body
            if name == UPOWER and owner and self._bus is not None:
                self._get(self._bus)
        elif self._owner and message.sender == self._owner and message.signature == "sa{sv}as":
            interface, values, _ = message.body
            if interface == UPOWER and "OnBattery" in values:
                self._take(values["OnBattery"].value)

    def _take(self, value: object) -> None:
        if isinstance(value, bool) and value is not self.on_battery:
            self.on_battery = value
            self._changed(value)
