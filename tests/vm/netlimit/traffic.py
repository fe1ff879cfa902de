# SPDX-License-Identifier: GPL-2.0-or-later
"""Both ends of the traffic, run as programs of their own: plain sockets, nothing of ours.

Each runs until it is killed; times are of CLOCK_MONOTONIC, in seconds.

serve              TCP source on 5001, TCP sink on 5002, UDP sink on 5004
answer             UDP echo on 5003
down HOST N        N downloads; a line `time bytes` every 50 ms
up HOST N          likewise uploads, counted as the other end acknowledged them
echo HOST          50 datagrams a second, each answered; a line `time round-trip` for each, 1 for a lost one
flood HOST RATE    datagrams at RATE bytes a second; a line `bytes errors` every 50 ms
"""

from __future__ import annotations

import os
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


def at_once() -> None:
    """Ahead of all other programs: what is measured is the network, not the wait for a CPU."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def answer() -> None:
    at_once()
    sock = listener(socket.SOCK_DGRAM, ECHO)
    sock.setblocking(True)
    print("ready", flush=True)
    while True:
        data, address = sock.recvfrom(2048)
        sock.sendto(data, address)


def bulk(way: str, host: str, count: int) -> None:
    select = selectors.DefaultSelector()
    socks = []
    for _ in range(count):
        sock = socket.create_connection((host, SOURCE if way == "down" else SINK), timeout=20)
        sock.setblocking(False)
        event = selectors.EVENT_READ if way == "down" else selectors.EVENT_WRITE
        select.register(sock, event)
        socks.append(sock)
    received, due = 0, 0.0
    while True:
        now = time.monotonic()
        if now >= due:
            total = received if way == "down" else sum(map(acknowledged, socks))
            print(f"{now:.3f} {total}", flush=True)
            due = now + 0.05
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


def echo(host: str) -> None:
    at_once()
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((host, ECHO))
    sent: dict[int, float] = {}  # those without an answer yet
    due, number = time.monotonic(), 0
    while True:
        now = time.monotonic()
        if now >= due:
            sent[number] = now
            sock.send(struct.pack("I", number))
            number += 1
            due = max(due + 0.02, now)
        for lost in [n for n, when in sent.items() if now - when > 1.0]:
            print(f"{sent.pop(lost):.4f} 1", flush=True)
        sock.settimeout(max(0.0005, due - now))
        try:
            seen = struct.unpack("I", sock.recv(64))[0]
        except (TimeoutError, BlockingIOError):
            continue
        if seen in sent:
            when = sent.pop(seen)
            print(f"{when:.4f} {time.monotonic() - when:.4f}", flush=True)


def flood(host: str, rate: int) -> None:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((host, HOLE))
    began = time.monotonic()
    sent, errors, due = 0, 0, 0.0
    while True:
        now = time.monotonic()
        if now >= due:
            print(f"{sent} {errors}", flush=True)
            due = now + 0.05
        if sent > rate * (now - began):
            time.sleep(0.002)
            continue
        try:
            sent += sock.send(bytes(1200))
        except OSError:
            errors += 1
            sent += 1200


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] == "serve":
        serve()
    elif arguments[0] == "answer":
        answer()
    elif arguments[0] == "echo":
        echo(arguments[1])
    elif arguments[0] == "flood":
        flood(arguments[1], int(arguments[2]))
    else:
        bulk(arguments[0], arguments[1], int(arguments[2]))
