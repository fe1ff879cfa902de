# SPDX-License-Identifier: GPL-2.0-or-later
"""A Wayland client whose frames are known: python window.py LOG SECONDS SEED.

Commits a new picture after each frame time, which is drawn by chance, and logs when, in ns of CLOCK_MONOTONIC. It
speaks the protocol itself (wayland.xml, xdg-shell.xml), because a test needs no library for a dozen requests.
"""

from __future__ import annotations

import array
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

SIZE = 64
FRAME_MS = (25.0, 60.0)  # at uneven times, and longer than a refresh
EVERY, TIMES = 50, 3  # every 50th takes three times as long
_DISPLAY, _REGISTRY = 1, 2
_XRGB8888 = 1


class Client:
    """A connection with a window."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(f"{os.environ['XDG_RUNTIME_DIR']}/{os.environ['WAYLAND_DISPLAY']}")
        self._last, self._data = _REGISTRY, b""
        self._wm_base = 0
        self._send(_DISPLAY, 1, struct.pack("<I", _REGISTRY))
        names: dict[str, int] = {}
        while not {"wl_compositor", "wl_shm", "xdg_wm_base"} <= names.keys():
            for sender, opcode, body in self._events(5):
                if (sender, opcode) == (_REGISTRY, 0):
                    name, length = struct.unpack_from("<II", body)
                    names[body[8 : 7 + length].decode()] = name
        compositor, shm, self._wm_base = (
            self._bind(names[name], name) for name in ("wl_compositor", "wl_shm", "xdg_wm_base")
        )
        self._surface = self._new(compositor, 0)
        xdg_surface = self._new(self._wm_base, 2, struct.pack("<I", self._surface))
        self._new(xdg_surface, 1)
        self._commit()
        while not any(self._configured(xdg_surface)):
            pass
        self._memory = os.memfd_create("window")
        os.truncate(self._memory, 2 * SIZE * SIZE * 4)
        pool = self._last = self._last + 1
        self._send(shm, 0, struct.pack("<Ii", pool, 2 * SIZE * SIZE * 4), self._memory)
        self._buffers = [
            self._new(pool, 0, struct.pack("<iiiiI", at * SIZE * SIZE * 4, SIZE, SIZE, SIZE * 4, _XRGB8888))
            for at in (0, 1)
        ]  # fmt: skip
        self._shown = 0

    def _configured(self, xdg_surface: int) -> Iterator[bool]:
        for sender, opcode, body in self._events(5):
            if (sender, opcode) == (xdg_surface, 0):
                self._send(xdg_surface, 4, body[:4])
                yield True

    def _new(self, receiver: int, opcode: int, more: bytes = b"") -> int:
        self._last += 1
        self._send(receiver, opcode, struct.pack("<I", self._last) + more)
        return self._last

    def _bind(self, name: int, interface: str) -> int:
        self._last += 1
        text = interface.encode() + b"\0"
        padded = text + b"\0" * (-len(text) % 4)
        self._send(
            _REGISTRY, 0, struct.pack("<II", name, len(text)) + padded + struct.pack("<II", 1, self._last)
        )  # fmt: skip
        return self._last

    def _send(self, receiver: int, opcode: int, body: bytes, fd: int = -1) -> None:
        message = struct.pack("<II", receiver, (8 + len(body)) << 16 | opcode) + body
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd >= 0 else []
        self._socket.sendmsg([message], rights)

    def _events(self, wait_s: float) -> Iterator[tuple[int, int, bytes]]:
        if select.select([self._socket], [], [], wait_s)[0]:
            read = self._socket.recv(65536)
            if not read:
                raise ConnectionError("the compositor has closed the connection")
            self._data += read
        while len(self._data) >= 8:
            sender, word = struct.unpack_from("<II", self._data)
            if len(self._data) < word >> 16:
                return
            body, self._data = self._data[8 : word >> 16], self._data[word >> 16 :]
            if (sender, word & 0xFFFF) == (self._wm_base, 0):
                self._send(sender, 3, body[:4])  # else it takes us for dead
            if sender == _DISPLAY and word & 0xFFFF == 0:
                raise ConnectionError(f"the compositor complains: {body[8:]!r}")
            yield sender, word & 0xFFFF, body

    def _commit(self) -> None:
        self._send(self._surface, 6, b"")

    def show(self, color: int) -> None:
        """Show a picture of one color."""
        self._shown ^= 1
        os.pwrite(
            self._memory, struct.pack("<I", color) * SIZE * SIZE, self._shown * SIZE * SIZE * 4
        )
        self._send(self._surface, 1, struct.pack("<Iii", self._buffers[self._shown], 0, 0))
        self._send(self._surface, 2, struct.pack("<iiii", 0, 0, SIZE, SIZE))
        self._commit()
        for _ in self._events(0):
            pass


def main(path: str, seconds: float, seed: int) -> None:
    client, draw = Client(), random.Random(seed)
    due = time.monotonic_ns()
    end, number = due + int(seconds * 1e9), 0
    with open(path, "w") as log:
        while due < end:
            number += 1
            due += int(draw.uniform(*FRAME_MS) * (TIMES if number % EVERY == 0 else 1) * 1e6)
            time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
            client.show(number * 0x10305)
            log.write(f"{time.monotonic_ns()}\n")
            log.flush()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
