# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking the service from a program that has nothing else to do: plain, blocking, with a time limit."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from scx_gamer.dbus import BUS_NAME, INTERFACE, OBJECT_PATH, BusError, wire
from scx_gamer.system.closing import Closing

_MAX_ANSWER = 16 << 20
_GONE = frozenset(
    f"org.freedesktop.DBus.Error.{name}"
    for name in ("ServiceUnknown", "NameHasNoOwner", "NoReply", "Spawn.ChildExited")
)


class NoService(BusError):
    """There is no bus, or nobody on it has our name."""


class BusClient(Closing):
    """A connection of its own. The constructor raises NoService without a bus; calls raise BusError."""

    def __init__(self, timeout_s: float = 15.0) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._frames = wire.Frames(_MAX_ANSWER)
        self._serial = 0
        wire.library()
        path = wire.bus_socket()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._sock.settimeout(timeout_s)
            self._sock.connect(path)
            self._sock.sendall(wire.hello())
            line = bytearray()
            while not line.endswith(b"\r\n"):
                part = self._sock.recv(1)
                if not part or len(line) > 4096:
                    raise NoService("the bus hung up")
                line += part
            if not line.startswith(b"OK"):
                raise NoService("the bus refuses us")
            self._sock.sendall(b"BEGIN\r\n")
            self._exchange(wire.to_bus("Hello"))
        except OSError as err:
            self._sock.close()
            why = err.strerror or "no answer"
            raise NoService(f"no bus at {path}: {why}", errno=err.errno or 0) from err
        except BaseException:
            self._sock.close()
            raise

    def call(
        self,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        *,
        interface: str = INTERFACE,
        interactive: bool = False,
        destination: str = BUS_NAME,
        path: str = OBJECT_PATH,
    ) -> list[Any]:
        """Call a method and return the body of the answer. Raises BusError."""
        message = wire.call(
            destination, path, interface, member, signature, body, interactive=interactive
        )
        try:
            return self._exchange(message)
        except OSError as err:
            raise BusError(f"{member}: {err.strerror or 'no answer in time'}") from err

    def _exchange(self, message: Any) -> list[Any]:
        kinds = wire.library().MessageType
        self._serial += 1
        serial = self._serial
        self._sock.settimeout(self._left_s())
        self._sock.sendall(wire.encode(message, serial))
        while True:
            answer = self.receive()
            if answer.reply_serial != serial:
                continue
            if answer.message_type is kinds.ERROR:
                text = str(answer.body[0]) if answer.body else answer.error_name
                kind = NoService if answer.error_name in _GONE else BusError
                raise kind(text, name=answer.error_name)
            return list(answer.body)

    def receive(self) -> Any:
        """Return the next message of any kind. Raises TimeoutError."""
        while (found := self._frames.next()) is None:
            self._sock.settimeout(self._left_s())
            data = self._sock.recv(1 << 16)
            if not data:
                raise BusError("the bus hung up")
            self._frames.feed(data)
        return wire.decode(found[0])

    def _left_s(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def extend(self, timeout_s: float) -> None:
        """Set the deadline this far from now."""
        self._deadline = time.monotonic() + timeout_s

    def close(self) -> None:
        self._sock.close()


def may_ask_for_a_password() -> bool:
    """Return True if a user at a terminal could type a password."""
    return os.geteuid() != 0 and os.isatty(0)
