# SPDX-License-Identifier: GPL-2.0-only
"""GET /metrics on a loopback address, on a thread of its own: a scrape never delays input.

Sockets do not block and each connection has a deadline, so a slow scraper holds up nobody.
"""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

# How long the thread that serves input waits for ours to let go of the interpreter, three times for one event. The
# kernel adds its timer slack to each wait.
_SWITCH_S = 0.00002
_SLACK_NS = 1000
_DEADLINE_S = 5.0
_MAX_CONNECTIONS = 16
_MAX_REQUEST = 8192
_JOIN_S = 3.0
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ExporterError(Exception):
    """The exporter cannot listen."""

    def __init__(self, what: str, errno: int = 0, hint: str = "") -> None:
        super().__init__(f"{what}; {hint}" if hint else what)
        self.what = what
        self.errno = errno
        self.hint = hint


@dataclass
class _Connection:
    sock: socket.socket
    deadline: float
    request: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None


class Exporter:
    """Listens from the constructor to close(). `scrape` runs on the exporter's thread."""

    def __init__(self, address: str, port: int, scrape: Callable[[], bytes]) -> None:
        self._scrape = scrape
        self._open: dict[int, _Connection] = {}
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
                    "set another metrics.port, or metrics.enabled = false",
                ) from error
            self.port: int = self._listen.getsockname()[1]
            self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            stack.callback(os.close, self._stop_fd)
            self._selector = stack.enter_context(selectors.DefaultSelector())
            self._selector.register(self._listen, selectors.EVENT_READ)
            self._selector.register(self._stop_fd, selectors.EVENT_READ)
            sys.setswitchinterval(_SWITCH_S)
            _wake_in_time()
            self._thread = threading.Thread(target=self._run, name="scxg-metrics", daemon=False)
            self._thread.start()
            self._stack: ExitStack | None = stack.pop_all()

    def close(self) -> None:
        """Stop the thread and release the port. Idempotent."""
        stack, self._stack = self._stack, None
        if stack is None:
            return
        os.eventfd_write(self._stop_fd, 1)
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():  # it still uses the sockets: they end with the process
            log.error("thread scxg-metrics did not end within %g s", _JOIN_S)
            return
        stack.close()

    def __enter__(self) -> Exporter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while self._pass():
                pass
        finally:
            for fd in list(self._open):
                self._drop(fd)

    def _pass(self) -> bool:
        """One round; False once close() asked."""
        for key, _ in self._selector.select(1.0 if self._open else None):
            if key.fd == self._stop_fd:
                return False
            if key.fileobj is self._listen:
                self._accept()
            elif key.fd in self._open:
                self._serve(key.fd)
        now = time.monotonic()
        for fd in [fd for fd, one in self._open.items() if one.deadline <= now]:
            self.refused += 1
            self._drop(fd)
        return True

    def _accept(self) -> None:
        try:
            sock, _ = self._listen.accept()
        except OSError as error:  # the client left again, or no fd is free
            log.debug("metrics: accept: %s", error.strerror)
            return
        if len(self._open) >= _MAX_CONNECTIONS:
            self.refused += 1
            sock.close()
            return
        sock.setblocking(False)
        self._open[sock.fileno()] = _Connection(sock, time.monotonic() + _DEADLINE_S)
        self._selector.register(sock, selectors.EVENT_READ)

    def _drop(self, fd: int) -> None:
        connection = self._open.pop(fd)
        self._selector.unregister(connection.sock)
        connection.sock.close()

    def _serve(self, fd: int) -> None:
        connection = self._open[fd]
        try:
            if connection.answer is None:
                self._receive(connection)
            if connection.answer is not None:
                sent = connection.sock.send(connection.answer)
                connection.answer = connection.answer[sent:]
                if not connection.answer:
                    connection.sock.shutdown(socket.SHUT_WR)
                    self._drop(fd)
        except BlockingIOError:
            return
        except OSError:  # the scraper left
            self._drop(fd)

    def _receive(self, connection: _Connection) -> None:
        data = connection.sock.recv(4096)
        if not data:
            raise ConnectionResetError
        connection.request += data
        if b"\r\n\r\n" in connection.request:
            connection.answer = memoryview(self._answer(bytes(connection.request)))
        elif len(connection.request) > _MAX_REQUEST:
            connection.answer = memoryview(_response("431 Request Header Fields Too Large"))
        else:
            return
        self._selector.modify(connection.sock, selectors.EVENT_WRITE)

    def _answer(self, request: bytes) -> bytes:
        lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response("400 Bad Request")
        if words[0] != "GET":
            return _response("405 Method Not Allowed")
        if words[1].partition("?")[0] != "/metrics":
            return _response("404 Not Found", b"see /metrics\n")
        hosts = [line[5:].strip() for line in lines if line[:5].lower() == "host:"]
        if not all(_is_local(host) for host in hosts):  # a web page that rebound its name to us
            return _response("403 Forbidden")
        try:
            body = self._scrape()
        except Exception:  # a metric that cannot be read must not end the thread
            log.exception("metrics: a scrape failed")
            return _response("500 Internal Server Error")
        self.scrapes += 1
        if self.scrapes == 1:
            gc.freeze()  # what the first one imported stays: nobody waits for a look at it
        return _response("200 OK", body)


def _wake_in_time() -> None:
    """The waits of the first thread, the one that serves input, end when they should."""
    try:
        Path("/proc/self/timerslack_ns").write_text(str(_SLACK_NS))
    except OSError as error:
        log.debug("metrics: the kernel's timer slack stays: %s", error.strerror)


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
