# SPDX-License-Identifier: GPL-2.0-or-later
"""A user who opens everything as often as it is let, asks for the longest answers, and reads nothing. A program:

python hostile_user.py UID FOLDER PORT PROCESSES    prints "ready" and stays; it becomes the user UID, unless that is -1
"""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress

from scx_gamer.dbus import BUS_NAME, OBJECT_PATH, wire
from scx_gamer.dbus.client import BusClient

CALLS = 10_000
CHAIN = 100  # processes, each the parent of the next


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


def start_processes(count: int) -> None:
    """Chains of processes with a long environment, until the user's limit."""
    os.environ["GAMEID"] = "x" * 100_000
    for _ in range(count // CHAIN):
        try:
            if os.fork() == 0:
                depth = 1
                while depth < CHAIN and os.fork() == 0:
                    depth += 1
                time.sleep(600)
                os._exit(0)
        except OSError:
            return


def main() -> None:
    uid, folder, port, processes = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    wire.library()
    if uid >= 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    held = [*open_sockets(folder), *open_port(port), *flood_bus()]
    start_processes(processes)
    print("ready", flush=True)
    time.sleep(600 if held else 0)


if __name__ == "__main__":
    main()
