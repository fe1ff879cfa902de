# SPDX-License-Identifier: GPL-2.0-or-later
"""A real dbus-daemon of our own, and a loop that a test turns by hand or on a thread."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.system.loop import Loop

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <limit name="max_connections_per_user">512</limit>
  <policy context="default">
    <allow user="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow own="*"/>
    <allow receive_sender="*"/>
    <allow send_type="method_call"/>
  </policy>
</busconfig>
"""


class Daemon:
    """A bus that can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bus"
        self._config = folder / "bus.conf"
        self._config.write_text(CONFIG.format(path=self.path))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.path.unlink(missing_ok=True)
        command = shutil.which("dbus-daemon")
        assert command, "dbus-daemon is missing: run packaging/bootstrap test"
        self._process = subprocess.Popen(
            [command, f"--config-file={self._config}", "--nofork", "--print-address"],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], 20)[0], "dbus-daemon does not start"
        self._process.stdout.readline()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    folder = Path(tempfile.mkdtemp(prefix="bus-"))
    daemon = Daemon(folder)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={daemon.path}")
    try:
        yield daemon
    finally:
        daemon.stop()
        shutil.rmtree(folder)


class Turning:
    """A loop on a thread; `do` runs a function in it and hands back what it gave."""

    def __init__(self) -> None:
        self.loop = Loop()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._jobs: list[Callable[[], None]] = []
        self.loop.add_fd(self._read, self._run_jobs, name="test jobs")
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._turn, name="loop")
        self._thread.start()

    def _turn(self) -> None:
        try:
            self.loop.run()
        except BaseException as err:
            self.failure = err

    def _run_jobs(self, fd: int) -> None:
        os.read(fd, 4096)
        while self._jobs:
            self._jobs.pop(0)()

    def do(self, job: Callable[[], Any]) -> Any:
        """Run `job` in the loop; what it returned."""
        done = threading.Event()
        result: list[Any] = []

        def run() -> None:
            try:
                result.append(job())
            finally:
                done.set()

        self._jobs.append(run)
        os.write(self._write, b"x")
        assert done.wait(20), "the loop did not take the job"
        return result[0]

    def close(self) -> None:
        self.loop.stop()
        os.write(self._write, b"x")
        self._thread.join(10)
        self.loop.remove_fd(self._read)
        self.loop.close()
        os.close(self._read)
        os.close(self._write)
        if self.failure is not None:
            raise self.failure


@contextmanager
def turning() -> Iterator[Turning]:
    turn = Turning()
    try:
        yield turn
    finally:
        turn.close()
