# SPDX-License-Identifier: GPL-2.0-or-later
"""A user who opens everything as often as it is let, asks for the longest answers, and reads nothing. A program:

python hostile_user.py UID FOLDER PORT [PROGRAM COUNT]    becomes the user UID, prints "ready" and goes on. PROGRAM is
                                                          hostile_processes.c, compiled
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress

from scx_gamer.dbus import BUS_NAME, OBJECT_PATH, wire
from scx_gamer.dbus.client import BusClient

CALLS = 10_000


def open_sockets(folder: str) -> list[socket.socket]:
    """Forty connections to each socket, each with sixty questions."""
    held = []
    for name in ("control.sock", "hints.sock"):
        for _ in range(40):
            sock = socket.socket(socket.AF_UNIX)
            held.append(sock)
            with suppress(OSError):
                sock.connect(f"{folder}/{name}")
                sock.setblocking(False)
                sock.send(b'{"op": "snapshot"}\n' * 60)
    return held


def open_port(port: int) -> list[socket.socket]:
    """Forty connections, half of them with a request."""
    held = []
    for number in range(40):
        sock = socket.socket()
        sock.settimeout(0.2)
        held.append(sock)
        with suppress(OSError):
            sock.connect(("127.0.0.1", port))
            if number % 2:
                sock.send(b"GET /metrics HTTP/1.1\r\n\r\n")
    return held


def flood_bus() -> list[BusClient]:
    """As many calls as the bus takes, over four connections, and no answer wanted."""
    ping = wire.call(BUS_NAME, OBJECT_PATH, "org.freedesktop.DBus.Peer", "Ping")
    ping.flags |= wire.library().MessageFlag.NO_REPLY_EXPECTED
    flood = b"".join(wire.encode(ping, number) for number in range(1, CALLS // 4 + 1))
    clients = [BusClient(600) for _ in range(4)]
    for client in clients:
        client._sock.settimeout(2)
        with suppress(OSError):
            client._sock.sendall(flood)
    return clients


def start_processes(program: str, count: str) -> None:
    """As many processes with a long environment, or the user's limit of them."""
    env = {**os.environ, "GAMEID": "x" * 100_000}
    process = subprocess.Popen([program, count], env=env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()


def main() -> None:
    uid, folder, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    wire.library()
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    sockets = open_sockets(folder)
    held = [*open_port(port), *flood_bus()]
    if processes := sys.argv[4:]:
        start_processes(*processes)
    print("ready", flush=True)
    while held:
        time.sleep(1)
        sockets.clear()  # which closes them
        sockets += open_sockets(folder)


if __name__ == "__main__":
    main()
