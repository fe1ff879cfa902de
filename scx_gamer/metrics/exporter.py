# SPDX-License-Identifier: GPL-2.0-or-later
"""GET /metrics on a loopback address, in the loop, in short parts that input interrupts.

Sockets do not block and each connection has a deadline, so a slow scraper holds up nobody. Not on a thread of its own:
two that want the interpreter hand it to and fro, and an event of input, which needs it for 0.1 ms, took 0.5 ms.
"""

from __future__ import annotations

import gc
import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from scx_gamer.system.closing import Closing
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.loop import NO_TIMER, Loop, Timer

log = logging.getLogger(__name__)

_DEADLINE_S = 5.0  # for the answer to be read
_SILENT_S = 2.0  # for the request to be whole
_CACHED_S = 1.0  # an answer serves everybody who asks within it
_ACCEPTS = 8  # in one pass
_PART_S = 0.001  # of work between two passes of the loop, and one part more
# Beyond it the newest is let in: those who do nothing cannot lock Prometheus out.
_MAX_CONNECTIONS = 16
_MAX_REQUEST = 8192
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ExporterError(ScxGamerError):
    """The exporter cannot listen."""

    separator = "; "


@dataclass
class _Connection:
    sock: socket.socket
    deadline: Timer
    request: bytearray = field(default_factory=bytearray)
    waits: bool = False  # the request is whole
    answer: memoryview | None = None


class Exporter(Closing):
    """Listens from the constructor to close(). `scrape` yields the parts of one answer, empty ones included.

    Requests that arrive during a scrape share the next response, and those within a second of one get it again.
    """

    def __init__(
        self, loop: Loop, address: str, port: int, scrape: Callable[[], Iterator[bytes]]
    ) -> None:
        self._loop = loop
        self._scrape = scrape
        self._open: dict[int, _Connection] = {}
        self._waiting: list[_Connection] = []
        self._served: list[_Connection] = []
        self._parts: Iterator[bytes] | None = None
        self._body = bytearray()
        self._timer = NO_TIMER
        self._cached = b""
        self._cached_ns = 0
        self.scrapes = 0
        self.refused = 0
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        with ExitStack() as stack:
            self._listen = stack.enter_context(
                socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            )
            self._listen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self._listen.bind((address, port))
                self._listen.listen(_MAX_CONNECTIONS)
            except OSError as error:
                raise ExporterError(
                    f"metrics cannot listen on {address} port {port}: {error.strerror}",
                    error.errno or 0,
                    "set another metrics.port",
                ) from error
            self.port: int = self._listen.getsockname()[1]
            loop.add_fd(self._listen.fileno(), self._accept, name="metrics")
            stack.callback(loop.remove_fd, self._listen.fileno())
            stack.callback(self._hang_up)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Drop who is connected and release the port. Idempotent."""
        self._stack.close()

    def _hang_up(self) -> None:
        self._timer.cancel()
        self._parts = None
        gc.enable()
        for fd in list(self._open):
            self._drop(fd)

    def _accept(self, _fd: int) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, _address = self._listen.accept()
            except BlockingIOError:
                return
            except OSError as error:  # the client left again, or no fd is free
                log.debug("metrics: accept: %s", error.strerror)
                return
            self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        if len(self._open) >= _MAX_CONNECTIONS:
            self._make_room()
        sock.setblocking(False)
        fd = sock.fileno()
        self._open[fd] = _Connection(sock, self._deadline(fd, _SILENT_S))
        self._loop.add_fd(fd, self._serve, name="scraper")
        self._serve(fd)  # a scraper's request comes along with its connection

    def _make_room(self) -> None:
        """Drop the oldest connection that says nothing, else that reads nothing, else the oldest that waits."""
        order = sorted(self._open.items(), key=lambda item: (item[1].waits, item[1].answer is None))
        self._too_late(order[0][0])

    def _deadline(self, fd: int, seconds: float) -> Timer:
        return self._loop.call_later(seconds, lambda: self._too_late(fd), name="metrics deadline")

    def _too_late(self, fd: int) -> None:
        self.refused += 1
        self._drop(fd)

    def _drop(self, fd: int) -> None:
        connection = self._open.pop(fd)
        connection.deadline.cancel()
        self._loop.remove_fd(fd)
        connection.sock.close()

    def _serve(self, fd: int) -> None:
        connection = self._open[fd]
        try:
            if connection.answer is not None:
                self._send(fd, connection)
            else:
                self._receive(fd, connection)
        except BlockingIOError:
            return
        except OSError:  # the scraper left
            self._drop(fd)

    def _send(self, fd: int, connection: _Connection) -> None:
        assert connection.answer is not None
        sent = connection.sock.send(connection.answer)
        connection.answer = connection.answer[sent:]
        if not connection.answer:
            connection.sock.shutdown(socket.SHUT_WR)
            self._drop(fd)

    def _receive(self, fd: int, connection: _Connection) -> None:
        data = connection.sock.recv(4096)
        if not data:
            raise ConnectionResetError
        connection.request += data
        if b"\r\n\r\n" in connection.request:
            refusal = _refusal(bytes(connection.request))
        elif len(connection.request) > _MAX_REQUEST:
            refusal = _response("431 Request Header Fields Too Large")
        else:
            return
        if refusal:
            self._answer(fd, connection, refusal)
            return
        connection.waits = True
        connection.deadline.cancel()
        connection.deadline = self._deadline(fd, _DEADLINE_S)
        if self._cached and self._loop.now_ns() - self._cached_ns < _CACHED_S * 1e9:
            self.scrapes += 1
            self._answer(fd, connection, self._cached)
            return
        self._loop.watch_writable(fd, False, readable=False)  # what else it says is not read
        self._waiting.append(connection)
        self._go_on()

    def _answer(self, fd: int, connection: _Connection, answer: bytes) -> None:
        connection.answer = memoryview(answer)
        self._loop.watch_writable(fd, True, readable=False)

    # ---- one scrape, in parts --------------------------------------------------------------------

    def _go_on(self) -> None:
        if not self._timer.pending and (self._parts is not None or self._waiting):
            self._timer = self._loop.call_later(0.0005, self._step, name="scrape")

    def _step(self) -> None:
        answer, count = b"", 0
        try:
            if self._parts is None:
                self._served, self._waiting = self._waiting, []
                self._body.clear()
                self._parts = self._scrape()
                gc.disable()  # a thousand objects that go with the answer: each look at them is in vain
            if not self._loop.run_interruptible(self._work, self._parts):
                answer, count = _response("200 OK", bytes(self._body)), 1
                self._cached, self._cached_ns = answer, self._loop.now_ns()
        except Exception:  # a metric that cannot be read must not end the supervisor
            log.exception("metrics: a scrape failed")
            answer = _response("500 Internal Server Error")
        if answer:
            self._parts = None
            if count and not self.scrapes:
                gc.freeze()  # what the first one imported stays: nobody waits for a look at it
            gc.enable()
            for connection in self._served:
                fd = connection.sock.fileno()
                if fd >= 0:  # still there
                    self._answer(fd, connection, answer)
                    self.scrapes += count
            self._served = []
        self._go_on()

    def _work(self, parts: Iterator[bytes]) -> bool:
        """Gather some more parts; return False if none are left."""
        end = time.monotonic() + _PART_S
        for part in parts:
            self._body += part
            if time.monotonic() >= end:
                return True
        return False


def _refusal(request: bytes) -> bytes:
    """Return the answer to a request that is not for the metrics; empty for one that is."""
    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return _response("400 Bad Request")
    if words[0] != "GET":
        return _response("405 Method Not Allowed")
    if words[1].partition("?")[0] != "/metrics":
        return _response("404 Not Found", b"see /metrics\n")
    headers = [line.partition(":") for line in lines[1:]]
    if any(_of_a_page(name.strip().lower(), value.strip()) for name, _, value in headers):
        return _response("403 Forbidden", b"not for web pages\n")
    hosts = [line[5:].strip() for line in lines if line[:5].lower() == "host:"]
    if not all(_is_local(host) for host in hosts):  # a web page that rebound its name to us
        return _response("403 Forbidden")
    return b""


def _of_a_page(name: str, value: str) -> bool:
    """Return True for a header that a browser adds to a page's request; `none` is typed in by its user."""
    return name == "origin" or (name == "sec-fetch-site" and value.lower() != "none")


def _is_local(host: str) -> bool:
    name = host.partition("]")[0].removeprefix("[") if host[:1] == "[" else host.partition(":")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _response(status: str, body: bytes = b"") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {_TYPE}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
