# SPDX-License-Identifier: GPL-2.0-only
"""Both ends of the traffic, run as programs of their own: plain sockets, nothing of ours.

serve              TCP source on 5001, TCP sink on 5002, UDP echo on 5003, UDP sink on 5004, until killed
down HOST N S      N downloads for S seconds; a line `seconds bytes` every 50 ms
up HOST N S        likewise uploads, counted as the other end acknowledged them
echo HOST S        50 datagrams a second, each answered; JSON: [when sent, round trip or null] ...
flood HOST RATE S  datagrams at RATE bytes a second; JSON: {"sent", "errors"}
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time

SOURCE, SINK, ECHO, HOLE = 5001, 5002, 5003, 5004
CHUNK = bytes(65536)
TCP_INFO_BYTES_ACKED = 120  # offset in struct tcp_info


def listener(kind: int, port: int) -> socket.socket:
    six = socket.has_dualstack_ipv6()
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    if six:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::" if six else "0.0.0.0", port))
    if kind == socket.SOCK_STREAM:
        sock.listen(64)
    sock.setblocking(False)
    return sock


def serve() -> None:
    select = selectors.DefaultSelector()
    for port in (SOURCE, SINK):
        select.register(listener(socket.SOCK_STREAM, port), selectors.EVENT_READ, ("accept", port))
    select.register(listener(socket.SOCK_DGRAM, ECHO), selectors.EVENT_READ, ("echo", 0))
    select.register(listener(socket.SOCK_DGRAM, HOLE), selectors.EVENT_READ, ("hole", 0))
    print("ready", flush=True)
    while True:
        for key, _events in select.select():
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            what, port = key.data
            try:
                if what == "accept":
                    client, _address = sock.accept()
                    client.setblocking(False)
                    event = selectors.EVENT_WRITE if port == SOURCE else selectors.EVENT_READ
                    select.register(client, event, ("pump", port))
                elif what == "echo":
                    data, address = sock.recvfrom(2048)
                    sock.sendto(data, address)
                elif what == "hole":
                    sock.recv(65536)
                elif port == SOURCE:
                    sock.send(CHUNK)
                elif not sock.recv(262144):
                    select.unregister(sock)
                    sock.close()
            except BlockingIOError:
                continue
            except OSError:
                select.unregister(sock)
                sock.close()


def bulk(way: str, host: str, count: int, seconds: float) -> None:
    select = selectors.DefaultSelector()
    socks = []
    for _ in range(count):
        sock = socket.create_connection((host, SOURCE if way == "down" else SINK), timeout=20)
        sock.setblocking(False)
        event = selectors.EVENT_READ if way == "down" else selectors.EVENT_WRITE
        select.register(sock, event)
        socks.append(sock)
    began = time.monotonic()
    received, shown = 0, 0.0
    while (now := time.monotonic() - began) < seconds:
        if now >= shown:
            total = received if way == "down" else sum(map(acknowledged, socks))
            print(f"{now:.3f} {total}", flush=True)
            shown = now + 0.05
        for key, _events in select.select(0.05):
            sock = key.fileobj  # type: ignore[assignment]
            try:
                if way == "down":
                    received += len(sock.recv(262144))
                else:
                    sock.send(CHUNK)
            except BlockingIOError:
                continue


def acknowledged(sock: socket.socket) -> int:
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    return int(struct.unpack_from("Q", info, TCP_INFO_BYTES_ACKED)[0])


def echo(host: str, seconds: float) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.connect((host, ECHO))
    began = time.monotonic()
    sent: dict[int, float] = {}
    answers: dict[int, float] = {}
    number = 0
    while (now := time.monotonic() - began) < seconds + 1.0:
        due = number * 0.02
        if due < seconds and now >= due:
            sent[number] = now
            sock.send(struct.pack("I", number))
            number += 1
            continue
        sock.settimeout(max(0.0005, min(0.05, due - now)) if due < seconds else 0.05)
        try:
            data = sock.recv(64)
        except (TimeoutError, BlockingIOError):
            continue
        seen = struct.unpack("I", data)[0]
        answers.setdefault(seen, time.monotonic() - began - sent[seen])
    print(json.dumps([[when, answers.get(n)] for n, when in sent.items()]), flush=True)


def flood(host: str, rate: int, seconds: float) -> None:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((host, HOLE))
    began = time.monotonic()
    sent, errors = 0, []
    while (now := time.monotonic() - began) < seconds:
        if sent > rate * now:
            time.sleep(0.002)
            continue
        try:
            sent += sock.send(bytes(1200))
        except OSError as err:
            errors.append(err.errno)
            sent += 1200
    print(json.dumps({"sent": sent, "errors": errors}), flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] == "serve":
        serve()
    elif arguments[0] == "echo":
        echo(arguments[1], float(arguments[2]))
    elif arguments[0] == "flood":
        flood(arguments[1], int(arguments[2]), float(arguments[3]))
    else:
        bulk(arguments[0], arguments[1], int(arguments[2]), float(arguments[3]))
