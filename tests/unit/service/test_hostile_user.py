# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way in at once, on one loop, and a user who fills them all: root's question is answered within a second."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control
from scx_gamer.control.operations import bind
from scx_gamer.control.server import ControlServer
from scx_gamer.dbus.service import BusService
from scx_gamer.metrics.exporter import Exporter
from scx_gamer.system.loop import Loop
from tests import hostile_user
from tests.unit.dbus.conftest import Daemon, bus, turning
from tests.unit.dbus.test_service import wait

__all__ = ["bus"]

STRANGER = 65534
TREE = Path(hostile_user.__file__).parents[1]
SNAPSHOT = {"games": [{"name": "x" * 128, "n": n} for n in range(500)]}


def scrape() -> Iterator[bytes]:
    for _ in range(100):
        time.sleep(0.0005)
        yield b"metric 1\n" * 10


class Daemons:
    """The control socket, the hints socket, the bus and the metrics of a supervisor."""

    def __init__(self, loop: Loop, folder: Path) -> None:
        table = bind({name: lambda *_: SNAPSHOT for name in ("status", "snapshot", "hint")})
        self.bus = BusService(loop, table, dict, lambda *_: None)
        self.exporter = Exporter(loop, "127.0.0.1", 0, scrape)
        self._servers: list[Any] = [
            ControlServer(loop, folder / "control.sock", table),
            ControlServer(loop, folder / "hints.sock", {"hint": table["hint"]}),
        ]

    def close(self) -> None:
        for one in (*self._servers, self.exporter, self.bus):
            one.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_root_is_answered_beside_a_user_who_opens_everything_and_reads_nothing(
    bus: Daemon,
) -> None:
    bus.path.parent.chmod(0o755)
    with tempfile.TemporaryDirectory() as name, turning() as turn:
        folder = Path(name)
        folder.chmod(0o755)
        one = turn.do(lambda: Daemons(turn.loop, folder))
        wait(lambda: one.bus.connected)
        user = subprocess.Popen(
            [sys.executable, hostile_user.__file__, str(STRANGER), name, str(one.exporter.port)],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(TREE)},
        )  # fmt: skip
        try:
            assert user.stdout is not None
            took: list[float] = []
            while len(took) < 20:
                begun = time.monotonic()
                found = control.request("status", path=folder / "control.sock", timeout_s=30)
                took.append(time.monotonic() - begun)
                assert found == SNAPSHOT
                time.sleep(0.05)
            assert user.stdout.readline() == b"ready\n"
            begun = time.monotonic()
            control.request("status", path=folder / "control.sock", timeout_s=30)
            took.append(time.monotonic() - begun)
            with socket.create_connection(("127.0.0.1", one.exporter.port), timeout=10) as scraper:
                scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert scraper.recv(15) == b"HTTP/1.1 200 OK"
            wait(lambda: int(str(one.bus.counters()["over_budget"])) > hostile_user.CALLS / 20)
        finally:
            user.kill()
            user.wait(10)
            if user.stdout is not None:
                user.stdout.close()
            turn.do(one.close)
    assert statistics.median(took) < 1, took
