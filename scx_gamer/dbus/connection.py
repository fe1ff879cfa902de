# SPDX-License-Identifier: GPL-2.0-or-later
"""A connection to the bus on our own loop: never blocks, bounded in what it reads, keeps and waits for."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

from scx_gamer.dbus import BusError, wire
from scx_gamer.system.loop import NO_TIMER, Loop, Timer

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 5.0
_PER_PASS = 1  # messages handled before input has its turn again
_LOOKS_PER_PASS = 32  # and how many are looked at: a call beyond a user's share costs a twentieth of one that is served
_MAX_UNSENT = 4 << 20  # a bus that does not take answers is left
_MAX_PENDING = 128
_READ = 65536

Reply = Callable[[Any, str], None]  # (message or None, error text)


class Connection:
    """Connects in the constructor, which raises BusError. `on_ready` comes when the bus knows us, `on_lost` once."""

    def __init__(
        self,
        loop: Loop,
        *,
        on_ready: Callable[[], None],
        on_call: Callable[[bytes, bool], None],
        on_signal: Callable[[Any], None],
        on_lost: Callable[[str], None],
        admits: Callable[[str], bool] = lambda _sender: True,
    ) -> None:
        """`admits`: whether a call of this sender is looked at."""
        self._loop = loop
        self._on_ready, self._on_call = on_ready, on_call
        self._on_signal, self._on_lost = on_signal, on_lost
        self._admits = admits
        self._frames = wire.Frames()
        self._line = bytearray()
        self._authenticated = False
        self._unsent = bytearray()
        self._serial = 0
        self._pending: dict[int, tuple[Reply, Timer]] = {}
        self._again = NO_TIMER
        self.name = ""
        self.refused = 0
        self._lib = wire.library()
        path = wire.bus_socket()
        flags = socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        sock = socket.socket(socket.AF_UNIX, flags)
        try:
            sock.connect(path)
            sock.send(wire.hello())
        except OSError as err:
            sock.close()
            raise BusError(f"no bus at {path}: {err.strerror}", errno=err.errno or 0) from err
        self._sock: socket.socket | None = sock
        loop.add_fd(sock.fileno(), self._on_readable, name="bus")
        self._giving_up = loop.call_later(
            CALL_TIMEOUT_S, lambda: self._lose("the bus does not answer"), name="bus greeting"
        )

    # ---- out ---------------------------------------------------------------------------------

    def send(self, message: Any) -> int:
        """Queue a message and return its serial, 0 if the connection is gone."""
        if self._sock is None:
            return 0
        self._serial = self._serial % 0xFFFFFFFF + 1
        self._unsent += self._loop.run_interruptible(wire.encode, message, self._serial)
        serial = self._serial
        self._flush()
        return serial

    def call(self, message: Any, reply: Reply, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Call a method; `reply` gets the answer, or None and why there is none, never before this returns."""
        if len(self._pending) >= _MAX_PENDING or self._sock is None:
            why = "too many calls wait" if self._sock else "the bus is gone"
            self._loop.call_later(0, lambda: reply(None, why), name="bus call")
            return
        serial = self.send(message)
        timer = self._loop.call_later(
            timeout_s, lambda: self._expire(serial, timeout_s), name="bus call"
        )
        self._pending[serial] = (reply, timer)

    def _expire(self, serial: int, timeout_s: float) -> None:
        reply, _ = self._pending.pop(serial)
        reply(None, f"no answer in {timeout_s:g} s")

    def _flush(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            sent = sock.send(self._unsent) if self._unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError as err:
            why = str(err.strerror)
            self._unsent.clear()
            self._loop.call_later(0, lambda: self._lose(why), name="bus gone")
            return
        del self._unsent[:sent]
        if len(self._unsent) > _MAX_UNSENT:
            self._unsent.clear()
            self._loop.call_later(0, lambda: self._lose("it takes nothing"), name="bus stuck")
        else:
            self._loop.watch_writable(sock.fileno(), bool(self._unsent))

    # ---- in ----------------------------------------------------------------------------------

    def _on_readable(self, _fd: int) -> None:
        if self._unsent:
            self._flush()
        if self._sock is None:
            return
        try:
            if self._work():
                return  # more is here already: nothing is read until it is done
            data = self._sock.recv(_READ)
        except BlockingIOError:
            return
        except (OSError, BusError) as err:
            self._lose(str(err))
            return
        if not data:
            self._lose("it hung up")
            return
        try:
            if not self._authenticated:
                data = self._greet(data)
            self._frames.feed(data)
            self._work()
        except BusError as err:
            self._lose(str(err))

    def _greet(self, data: bytes) -> bytes:
        """Consume the lines before the messages; return the bytes after them."""
        self._line += data
        line, end, rest = bytes(self._line).partition(b"\r\n")
        if not end:
            if len(self._line) > 4096:
                raise BusError("it does not greet")
            return b""
        if not line.startswith(b"OK"):
            raise BusError(f"it refuses us: {line[:64].decode('ascii', 'replace')}")
        self._authenticated = True
        self._unsent += b"BEGIN\r\n"
        self.call(wire.to_bus("Hello"), self._greeted)
        return rest

    def _greeted(self, reply: Any, error: str) -> None:
        self._giving_up.cancel()
        if reply is None:
            self._lose(error)
            return
        self.name = str(reply.body[0])
        self._on_ready()

    def _work(self) -> bool:
        """Handle some of the bytes that were read; return True if more are left for the next pass."""
        handled = 0
        for _ in range(_LOOKS_PER_PASS):
            if self._sock is None:
                return False
            found = self._frames.next()
            if found is None:
                return False
            if self._handle(*found):
                handled += 1
                if handled == _PER_PASS:
                    break
        if not self._again.pending:
            self._again = self._loop.call_later(0, self._more, name="bus backlog")
        return True

    def _more(self) -> None:
        try:
            self._work()
        except BusError as err:
            self._lose(str(err))

    def _refuse(self, frame: bytes, sender: str) -> None:
        """Answer a call that was not looked at, if it waits for an answer: a user's share is spent."""
        self.refused += 1
        lib = self._lib
        if not frame[2] & lib.MessageFlag.NO_REPLY_EXPECTED.value:
            self.send(
                lib.Message(
                    message_type=lib.MessageType.ERROR,
                    reply_serial=wire.serial_of(frame),
                    destination=sender,
                    error_name="org.freedesktop.DBus.Error.LimitsExceeded",
                    signature="s",
                    body=["too many calls a second of yours: try again later"],
                )
            )

    def _handle(self, frame: bytes, whole: bool) -> bool:
        """Return False for a call that was refused unread."""
        types = self._lib.MessageType
        if frame[1] == types.METHOD_CALL.value:
            sender = wire.sender_of(frame)
            if not self._admits(sender):
                self._refuse(frame, sender)
                return False
            self._on_call(frame, whole)
        else:
            self._take(frame, whole)
        return True

    def _take(self, frame: bytes, whole: bool) -> None:
        """Handle an answer or a signal."""
        kind, types = frame[1], self._lib.MessageType
        try:
            message = self._loop.run_interruptible(
                wire.decode, frame if whole else wire.without_body(frame)
            )
        except BusError as err:
            log.debug("dropped: %s", err)
            return
        if kind == types.SIGNAL.value:
            self._on_signal(message)
            return
        waiting = self._pending.pop(message.reply_serial, None)
        if waiting is None:
            return
        reply, timer = waiting
        timer.cancel()
        if kind == types.METHOD_RETURN.value:
            reply(message, "")
        else:
            text = str(message.body[0]) if message.body else ""
            reply(None, f"{message.error_name}: {text}")

    # ---- the end -----------------------------------------------------------------------------

    def _lose(self, why: str) -> None:
        if self._sock is not None:
            self.close()
            self._on_lost(why)

    def close(self) -> None:
        """Leave the bus; calls that wait are forgotten."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._giving_up.cancel()
        self._again.cancel()
        for _, timer in self._pending.values():
            timer.cancel()
        self._pending.clear()
        self._loop.remove_fd(sock.fileno())
        sock.close()
