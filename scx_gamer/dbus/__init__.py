# SPDX-License-Identifier: GPL-2.0-or-later
"""The service on the system bus and its client.

dbus-next offers asyncio and GLib; we have a loop already. So of dbus-next we use what knows the format of messages
(wire.py), and move the bytes ourselves: without blocking in the supervisor (connection.py), plainly in the command
(client.py). introspection.xml is the interface: calls are checked against it before they are decoded.
"""

from __future__ import annotations

from scx_gamer.system.errors import ScxGamerError

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
BUS_NAME = INTERFACE = "io.github.scx_gamer.Supervisor1"
OBJECT_PATH = "/io/github/scx_gamer/Supervisor1"
SESSION_INTERFACE = f"{INTERFACE}.Session"
ERROR_PREFIX = f"{INTERFACE}.Error."


def old_name(text: str) -> str:
    """Replace our names and path by the deprecated ones, which answer too."""
    return text.replace(BUS_NAME, "org.scxgamer.Supervisor1").replace(
        OBJECT_PATH, "/org/scxgamer/Supervisor1"
    )


class BusError(ScxGamerError):
    """The bus, or the service on it, cannot be used; `name` is the D-Bus error when one was answered."""

    separator = "; "

    def __init__(self, what: str, *, name: str = "", errno: int = 0, hint: str = "") -> None:
        super().__init__(what, errno, hint)
        self.name = name
