# SPDX-License-Identifier: GPL-2.0-or-later
"""A hold on the power profile, by power-profiles-daemon or tuned-ppd, which answers to the same names.

A hold ends with the bus connection that took it: a supervisor that is killed leaves none behind.
"""

from __future__ import annotations

import logging
from typing import Any

from scx_gamer.dbus import wire
from scx_gamer.dbus.connection import Connection

log = logging.getLogger(__name__)

# The present name, and the one of power-profiles-daemon before 0.20, which later ones keep.
NAMES = ("org.freedesktop.UPower.PowerProfiles", "net.hadess.PowerProfiles")
_APPLICATION = "io.github.scx_gamer.Supervisor"
_ABSENT = ("ServiceUnknown", "NameHasNoOwner")
_TIMEOUT_S = 10.0  # the bus may have to start it


class PowerHold:
    """Follows want() as far as there is a bus and a daemon; `why` says what keeps it from that."""

    def __init__(self) -> None:
        self._bus: Connection | None = None
        self._names: tuple[str, ...] = NAMES
        self._wanted = self._reason = ""
        self._held = ""
        self._owner, self._cookie = "", 0
        self._waiting = False
        self.why = ""

    def connected(self, bus: Connection) -> None:
        self._bus, self.why = bus, ""
        self._follow()

    def lost(self) -> None:
        """Forget the hold, which has ended with the connection."""
        self._bus = None
        self._held, self._waiting = "", False

    def want(self, profile: str, reason: str) -> None:
        """Hold `profile` from now on; empty for none. A failure is not tried again before another one is wanted."""
        self._reason = reason
        if profile != self._wanted:
            self._wanted, self.why = profile, ""
            self._follow()

    def status(self) -> dict[str, str]:
        return {"wanted": self._wanted, "held": self._held, "why": self.why}

    def _follow(self) -> None:
        """Take one step towards what is wanted; the answer takes the next one."""
        if self._bus is None or self._waiting or self._held == self._wanted:
            return
        if self._held:
            self._held = ""
            self._ask("ReleaseProfile", "u", [self._cookie], self._released)
        elif not self.why:
            body = [self._wanted, self._reason, _APPLICATION]
            profile = self._wanted
            self._ask("HoldProfile", "sss", body, lambda *reply: self._taken(profile, *reply))

    def _ask(self, member: str, signature: str, body: list[Any], then: Any) -> None:
        assert self._bus is not None
        self._waiting = True
        name = self._names[0]
        path = "/" + name.replace(".", "/")
        message = wire.call(name, path, name, member, signature, body, start=True)
        self._bus.call(message, then, _TIMEOUT_S)

    def _taken(self, profile: str, reply: Any, error: str) -> None:
        self._waiting = False
        if reply is not None:
            self._held, self._cookie = profile, int(reply.body[0])
            self._owner = str(reply.sender)
        elif any(f".{name}:" in error for name in _ABSENT) and len(self._names) > 1:
            self._names = self._names[1:]
        else:
            self._names = NAMES
            self.why = f"{profile} is not held: {error}"
            log.warning("power profile %s", self.why)
        self._follow()

    def _released(self, _reply: Any, _error: str) -> None:
        self._waiting = False
        self._follow()

    def on_signal(self, message: Any) -> None:
        """Take note that the hold has ended. It is not taken again for this game: somebody wanted it so."""
        if not self._held:
            return
        if message.sender == self._owner and message.member == "ProfileReleased":
            if message.body == [self._cookie]:
                self._held, self.why = "", "another profile was chosen meanwhile"
        elif message.member == "NameOwnerChanged" and message.body[0] == self._owner:
            self._held, self.why = "", "the daemon of power profiles has ended"
