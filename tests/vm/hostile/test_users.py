# SPDX-License-Identifier: GPL-2.0-only
"""A user who means no good, beside a real supervisor: files, connections and processes without end."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scx_gamer import control
from scx_gamer.config.options import SupervisorOptions
from tests.vm.bus.conftest import STRANGER
from tests.vm.bus.service import service
from tests.vm.harness import kernel_state, start_supervisor

HOME = Path("/home/scxg-hostile")
PROCESSES = 4_000  # more do not fit into the memory of a guest
WITHIN_S = 1.0
# Opens every way in as often as it is let, asks for the longest answers and reads nothing; then as many processes,
# in chains of shells, each with the longest name that a game can have.
PROGRAM = """
import os, socket, sys, time
from scx_gamer.dbus import BUS_NAME, INTERFACE, OBJECT_PATH, wire
from scx_gamer.dbus.client import BusClient
held = []
for path in ("/run/scx-gamer/control.sock", "/run/scx-gamer/hints.sock"):
    for _ in range(40):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        sock.setblocking(False)
        held.append(sock)
        try:
            sock.send(b'{"op": "snapshot"}\\n' * 60)
        except OSError:
            pass
for _ in range(40):
    sock = socket.socket()
    sock.settimeout(0.2)
    held.append(sock)
    try:
        sock.connect(("127.0.0.1", 9714))
        if len(held) % 2:
            sock.send(b"GET /metrics HTTP/1.1\\r\\n\\r\\n")
    except OSError:
        pass
ping = wire.call(BUS_NAME, OBJECT_PATH, "org.freedesktop.DBus.Peer", "Ping")
ping.flags |= wire.library().MessageFlag.NO_REPLY_EXPECTED
clients = [BusClient(600) for _ in range(4)]
flood = b"".join(wire.encode(ping, number) for number in range(1, 2501))
for client in clients:
    client._sock.setblocking(False)
    try:
        client._sock.send(flood)
    except OSError:
        pass
count = 0
os.environ["GAMEID"] = "x" * 100_000
while count < int(sys.argv[1]):
    try:
        if os.fork() == 0:
            depth = 0
            while depth < 99 and os.fork() == 0:
                depth += 1
            time.sleep(600)
            os._exit(0)
    except OSError:
        break
    count += 100
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def fifo() -> Iterator[Path]:
    """A home whose desktop entries are pipes that nobody writes to, of a real user."""
    user = pwd.getpwnam(STRANGER)
    entries = HOME / ".local/share/applications"
    entries.mkdir(parents=True)
    for number in range(20):
        os.mkfifo(entries / f"{number}.desktop")
    for path in (HOME, *HOME.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    subprocess.run(["usermod", "--home", str(HOME), STRANGER], check=True, timeout=60)
    yield entries
    subprocess.run(["usermod", "--home", user.pw_dir, STRANGER], check=True, timeout=60)
    shutil.rmtree(HOME)


def test_a_users_files_do_not_hold_up_the_start(fifo: Path) -> None:
    with start_supervisor(SupervisorOptions(mode="always")) as supervised:
        assert supervised.status()["state"] == "attached"


@pytest.mark.timeout(600)
def test_status_answers_root_beside_a_hostile_user(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything opened and nothing read, ten thousand calls, thousands of processes: all at once."""
    with service("always") as supervisor:
        before = control.request("status")["generation"]
        user = subprocess.Popen(
            ["runuser", "-u", STRANGER, "--", "/usr/bin/python3", "-c", PROGRAM, str(PROCESSES)],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True,
        )  # fmt: skip
        try:
            assert user.stdout is not None
            assert user.stdout.readline() == b"ready\n"
            took = []
            for _ in range(10):
                begun = time.monotonic()
                control.request("status", timeout_s=30)
                took.append(time.monotonic() - begun)
                time.sleep(0.5)
            processes = len([name for name in os.listdir("/proc") if name.isdecimal()])
            memory = Path(f"/proc/{supervisor.pid}/status").read_text()
            with socket.create_connection(("127.0.0.1", 9714), timeout=10) as scraper:
                scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert scraper.recv(15) == b"HTTP/1.1 200 OK"
            command = [sys.executable, "-m", "scx_gamer", "stop"]
            done = subprocess.run(command, timeout=60, check=False, capture_output=True)
            assert done.returncode == 0, done.stderr
        finally:
            subprocess.run(["pkill", "-KILL", "-u", STRANGER], check=False, timeout=60)
            user.wait(30)
        assert control.request("status")["generation"] == before and supervisor.poll() is None
        control.request("start")
        assert kernel_state() == "enabled"
        resident = next(line for line in memory.splitlines() if line.startswith("VmRSS"))
        with capsys.disabled():
            print(
                f"\nbeside {processes} processes: status in {max(took):.2f} s at most, {resident}"
            )
        assert max(took) < WITHIN_S
