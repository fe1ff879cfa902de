# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket: who may ask what, and clients that cost nothing however they behave."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scx_gamer.control.operations import Operation
from scx_gamer.control.protocol import MAX_ANSWER, MAX_REQUEST, ControlError
from scx_gamer.system.budget import Budget
from scx_gamer.system.exit_codes import FAILED, NO_PERMISSION, USAGE
from scx_gamer.system.loop import Loop, Timer

log = logging.getLogger(__name__)

_MAX_CLIENTS = 32
_MAX_PER_USER = 8
_IDLE_S = 10.0  # a client that neither asks nor reads for so long is dropped
_MAX_REQUESTS = 64  # by one connection
_ACCEPTS = 16  # in one pass
_BACKLOG = 1024  # connections that wait; who fills it makes others wait for their turn
_PER_SECOND, _BURST = 50.0, 100.0  # requests of one user, over all connections; root has no limit


@dataclass
class _Client:
    sock: socket.socket
    uid: int
    timer: Timer
    received: bytearray = field(default_factory=bytearray)
    to_send: bytearray = field(default_factory=bytearray)
    requests: int = 0


class ControlServer:
    """Serves `operations` on `path` until close()."""

    def __init__(self, loop: Loop, path: Path, operations: Mapping[str, Operation]) -> None:
        self._loop = loop
        self._path = path
        self.operations = operations
        self._clients: dict[int, _Client] = {}
        self._turns: dict[int, None] = {}  # fds with a request that waits, in order
        self.requests = 0
        self.refused = 0
        self._budget = Budget(_PER_SECOND, _BURST)
        flags = socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        sock = socket.socket(socket.AF_UNIX, flags)
        try:
            # the lock on the directory is ours, so what lies there is of an ended run
            if path.exists() and stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
            sock.bind(os.fspath(path))
            os.chmod(path, 0o666)
            sock.listen(_BACKLOG)
            loop.add_fd(sock.fileno(), self._on_connect, name="control socket")
            loop.at_pass_end(self._take_turn)
        except OSError as err:
            sock.close()
            raise ControlError(f"cannot listen on {path}: {err.strerror}", FAILED) from err
        self._listen: socket.socket | None = sock

    def _on_connect(self, _fd: int) -> None:
        if self._listen is None:
            return
        for _ in range(_ACCEPTS):
            try:
                sock, _address = self._listen.accept()
            except OSError:  # nobody left, or the client is gone, or no fd: the next pass tries
                return
            self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _pid, uid, _gid = struct.unpack("iII", credentials)
        mine = sum(client.uid == uid for client in self._clients.values())
        if uid != 0 and (mine >= _MAX_PER_USER or len(self._clients) >= _MAX_CLIENTS):
            self._turn_away(sock, "too many connections are open: close one, or try again")
            return
        if len(self._clients) >= _MAX_CLIENTS:  # root is let in: the oldest goes
            self._drop(next(iter(self._clients)))
        fd = sock.fileno()
        timer = self._expire(fd)
        self._clients[fd] = _Client(sock, uid, timer)
        self._loop.add_fd(fd, self._on_client, name="control client")
        if uid == 0:  # mostly the request is there already
            self._on_client(fd)

    def _turn_away(self, sock: socket.socket, why: str) -> None:
        """Answer with an error at once, instead of serving the connection."""
        self.refused += 1
        with sock, suppress(OSError):
            sock.send(_encode(_error(why, FAILED)))

    def _expire(self, fd: int) -> Timer:
        return self._loop.call_later(_IDLE_S, lambda: self._drop(fd), name="idle control client")

    def _drop(self, fd: int) -> None:
        client = self._clients.pop(fd, None)
        self._turns.pop(fd, None)
        if client is not None:
            client.timer.cancel()
            self._loop.remove_fd(fd)
            client.sock.close()

    def _on_client(self, fd: int) -> None:
        client = self._clients.get(fd)
        if client is None or fd in self._turns:
            return
        if client.to_send:
            self._send(fd, client)
            self._go_on(fd, client)
            return  # one answer at a time: a client that does not read is not read either
        try:
            data = client.sock.recv(MAX_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(fd)
            return
        client.received += data
        if client.uid == 0:
            self._take_line(fd, client)
        else:
            self._turns[fd] = None

    def _go_on(self, fd: int, client: _Client) -> None:
        """Queue a request that came with the answered one, because the socket will not report it again."""
        if fd in self._clients and not client.to_send and b"\n" in client.received:
            self._turns[fd] = None

    def _take_turn(self) -> None:
        """Answer one request of those that wait: in each pass of the loop one, so that root waits for one at most."""
        fd = next(iter(self._turns), None)
        if fd is not None:
            del self._turns[fd]
            self._take_line(fd, self._clients[fd])
            # Another pass at once, for its consequences and the next turn.
            self._loop.call_later(0, lambda: None, name="control turn")

    def _take_line(self, fd: int, client: _Client) -> None:
        line, newline, rest = bytes(client.received).partition(b"\n")
        if not newline and len(line) <= MAX_REQUEST:
            return
        client.received = bytearray(rest)
        client.requests += 1
        if not newline or len(line) > MAX_REQUEST:
            client.requests = _MAX_REQUESTS  # no telling where the next one begins
            answer = _error(f"a request is one line of at most {MAX_REQUEST} bytes", USAGE)
        elif client.uid != 0 and not self._budget.take(client.uid):
            self.refused += 1
            answer = _error(f"more than {_PER_SECOND:g} requests a second of yours", FAILED)
        else:
            answer = self._answer(line, client.uid)
        client.to_send += self._bounded(answer, client.uid)
        client.timer.cancel()
        client.timer = self._expire(fd)
        self._send(fd, client)
        self._go_on(fd, client)

    def _bounded(self, answer: dict[str, Any], uid: int) -> bytes:
        """Return the bytes of an answer, or of an error if they or all that the user left unread are too many."""
        data = self._loop.run_interruptible(_encode, answer)
        if len(data) > MAX_ANSWER:
            return _encode(_error(f"the answer has more than {MAX_ANSWER} bytes", FAILED))
        unread = sum(len(c.to_send) for c in self._clients.values() if c.uid == uid)
        if uid != 0 and unread + len(data) > MAX_ANSWER:
            self.refused += 1
            return _encode(_error(f"{unread} bytes of answers to you are unread", FAILED))
        return data

    def _answer(self, line: bytes, uid: int) -> dict[str, Any]:
        self.requests += 1
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _error("the request is not JSON", USAGE)
        name = request.pop("op", None) if isinstance(request, dict) else None
        operation = self.operations.get(name) if isinstance(name, str) else None
        if operation is None:
            known = ", ".join(sorted(self.operations))
            return _error(f"unknown operation: one of {known}", USAGE)
        try:
            if operation.root_only and uid != 0:
                return _error(f"{name} is for root only", NO_PERMISSION)
            if operation.spec.query:  # which only reads
                result = self._loop.run_interruptible(operation.call, request, uid)
            else:
                result = operation.call(request, uid)
            return {"ok": True, "result": result}
        except ControlError as err:
            return _error(str(err), err.code)

    def _send(self, fd: int, client: _Client) -> None:
        try:
            sent = client.sock.send(client.to_send)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(fd)
            return
        del client.to_send[:sent]
        self._loop.watch_writable(fd, bool(client.to_send))
        if not client.to_send and client.requests >= _MAX_REQUESTS:
            self._drop(fd)

    def close(self) -> None:
        for fd in list(self._clients):
            self._drop(fd)
        sock, self._listen = self._listen, None
        if sock is not None:
            self._loop.remove_fd(sock.fileno())
            sock.close()
            self._path.unlink(missing_ok=True)


def _error(text: str, code: int) -> dict[str, Any]:
    return {"ok": False, "error": text, "code": code}


def _encode(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, default=str).encode() + b"\n"


def pid_of(request: Mapping[str, Any]) -> int:
    """Return the `pid` of a request. Raises ControlError."""
    pid = request.get("pid")
    if type(pid) is not int or not 0 < pid < 1 << 31:
        raise ControlError("give the process as a number: pid", USAGE)
    return pid
