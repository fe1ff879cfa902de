# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of the start: READY before anything looks at what users own, the watchdog between the long steps."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.scheduler import sysfs
from scx_gamer.service import supervisor
from scx_gamer.system.paths import Paths


class Games:
    """The first look at the processes and the entries in homes."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self.heard = b""

    def start(self) -> None:
        self.heard = self._told.recv(4096)


def test_nothing_of_users_is_read_before_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        told = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        told.bind(str(tmp_path / "notify"))
        told.setblocking(False)  # what was not said by then is an error
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setattr(sysfs, "unsupported", lambda: "")
        where = Paths(tmp_path / "run", tmp_path / "state", tmp_path / "etc")
        one = supervisor.Supervisor(SupervisorOptions(), where)
        games = Games(told)
        services: Any = SimpleNamespace(games=games)
        monkeypatch.setattr(one, "_open", lambda _stack: services)
        before_attach = []

        def start() -> None:
            before_attach.append(told.recv(4096))
            one.loop.stop()

        monkeypatch.setattr(one, "_start", start)
        assert one.run() == 0
    assert games.heard.startswith(b"READY=1")
    assert before_attach == [b"WATCHDOG=1"]
