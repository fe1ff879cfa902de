# SPDX-License-Identifier: GPL-2.0-or-later
"""Client of the control socket: one request, one answer."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from scx_gamer.control.protocol import MAX_ANSWER, ControlError, UnreachableError
from scx_gamer.system.exit_codes import FAILED, NO_PERMISSION, NOT_RUNNING
from scx_gamer.system.paths import paths


def request(op: str, *, timeout_s: float = 15.0, path: Path | None = None, **args: object) -> Any:
    """Return the `result` of one operation; raises ControlError."""
    path = path or paths().control_socket
    line = json.dumps({"op": op, **args}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        try:
            _connect(sock, os.fspath(path), timeout_s)
            sock.settimeout(timeout_s)
            with suppress(BrokenPipeError):  # turned away: why is there to be read
                sock.sendall(line)
            answer = _read_line(sock)
        except (FileNotFoundError, ConnectionRefusedError) as err:
            raise UnreachableError(
                "the supervisor is not running",
                NOT_RUNNING,
                err.errno or 0,
                "start it with `sudo systemctl start scx-gamer`",
            ) from err
        except PermissionError as err:
            raise UnreachableError(f"no access to {path}", NO_PERMISSION, err.errno or 0) from err
        except (TimeoutError, BlockingIOError) as err:
            raise UnreachableError(f"no answer to {op} in {timeout_s:g} s", FAILED) from err
        except OSError as err:
            raise UnreachableError(f"{op}: {err.strerror}", FAILED, err.errno or 0) from err
    try:
        decoded = json.loads(answer)
    except ValueError as err:
        raise ControlError(f"the answer to {op} is not JSON", FAILED) from err
    if not isinstance(decoded, dict) or not decoded.get("ok"):
        found = decoded if isinstance(decoded, dict) else {}
        code = found.get("code")
        raise ControlError(
            str(found.get("error", "malformed answer")), code if isinstance(code, int) else FAILED
        )
    return decoded.get("result")


def _connect(sock: socket.socket, path: str, timeout_s: float) -> None:
    """Connect within that time; raises OSError.

    Not by settimeout: where others fill the queue of connections, a socket that does not block fails at once. A signal
    ends the wait for the queue, and Python takes the socket for one that is connected then.
    """
    end = time.monotonic() + timeout_s
    while (left := end - time.monotonic()) > 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(max(left, 1e-3)))
        sock.connect(path)
        with suppress(OSError):
            sock.getpeername()
            return
    raise TimeoutError


def _timeval(seconds: float) -> bytes:
    """Return a struct timeval; zero would be no limit."""
    whole = int(seconds)
    return struct.pack("@ll", whole, int((seconds - whole) * 1e6))


def _read_line(sock: socket.socket) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        part = sock.recv(65536)
        if not part:
            raise UnreachableError("the supervisor hung up", NOT_RUNNING)
        parts.append(part)
        size += len(part)
        if part.endswith(b"\n"):
            return b"".join(parts)
        if size > MAX_ANSWER:
            raise ControlError("the answer is too long")
