# SPDX-License-Identifier: GPL-2.0-or-later
"""The way of a request: root the socket, others the bus; and the other one where the first is closed."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control
from scx_gamer.cli import remote
from scx_gamer.control.operations import bind
from scx_gamer.control.server import ControlServer
from scx_gamer.dbus.service import BusService
from scx_gamer.system.paths import Paths
from tests.unit.dbus.conftest import Daemon, Turning, bus, turning
from tests.unit.dbus.test_service import wait

__all__ = ["bus"]

STRANGER = 65534


class Supervisor:
    """Both ways in, with operations that answer by which way they were asked."""

    def __init__(self, folder: Path, turn: Turning) -> None:
        self._turn = turn
        self.folder = folder
        self.socket: ControlServer | None = None
        self.bus: BusService | None = None

    def _table(self, way: str) -> Any:
        return bind({"stop": lambda *_: {"way": way}, "status": lambda *_: {"way": way}})

    def open(self, *ways: str) -> None:
        if "socket" in ways:
            path = self.folder / "control.sock"
            made = self._turn.do(
                lambda: ControlServer(self._turn.loop, path, self._table("socket"))
            )
            self.socket = made
        if "bus" in ways:
            table = self._table("bus")
            self.bus = self._turn.do(
                lambda: BusService(self._turn.loop, table, dict, lambda *_: None)
            )
            wait(lambda: self.bus is not None and self.bus.connected)

    def close(self) -> None:
        for one in (self.socket, self.bus):
            if one is not None:
                self._turn.do(one.close)


@pytest.fixture
def supervisor(bus: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.delenv("SCX_GAMER_RUNTIME_DIR", raising=False)
    with turning() as turn, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = Paths(folder, folder, folder)
        monkeypatch.setattr("scx_gamer.control.client.paths", lambda: where)
        made = Supervisor(folder, turn)
        try:
            yield made
        finally:
            made.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(
    ("uid", "ways", "taken"),
    [
        (0, ("socket", "bus"), "socket"),
        (0, ("bus",), "bus"),
        (STRANGER, ("socket", "bus"), "bus"),
        (STRANGER, ("socket",), "socket"),
    ],
)
def test_the_way_of_a_question(
    uid: int, ways: tuple[str, ...], taken: str, supervisor: Supervisor, bus: Daemon
) -> None:
    supervisor.open(*ways)
    for folder in (supervisor.folder, bus.path.parent):
        folder.chmod(0o755)
    os.seteuid(uid)
    try:
        assert remote.request("status") == {"way": taken}
    finally:
        os.seteuid(0)
    if uid == 0:
        assert remote.request("stop") == {"way": taken}


def test_a_bus_that_hangs_does_not_keep_root_from_stopping(
    supervisor: Supervisor, bus: Daemon
) -> None:
    supervisor.open("socket")
    os.kill(bus.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert remote.request("stop") == {"way": "socket"}
        assert time.monotonic() - begun < 5
    finally:
        os.kill(bus.pid, signal.SIGCONT)


def test_nobody_there_is_said_in_the_words_of_the_socket(supervisor: Supervisor) -> None:
    with pytest.raises(control.ControlError, match="the supervisor is not running"):
        remote.request("status")
