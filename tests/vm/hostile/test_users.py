# SPDX-License-Identifier: GPL-2.0-or-later
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
from tests.vm.harness import kernel_state, start_supervisor, wait_until
from tests.vm.hostile.attack import PROCESSES, attack

HOME = Path("/home/scxg-hostile")
WITHIN_S, FOR_S = 1.0, 30.0


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


def answer_s() -> float:
    """Ask for the status as root; return the seconds until the answer."""
    begun = time.monotonic()
    control.request("status", timeout_s=30)
    return time.monotonic() - begun


@pytest.mark.timeout(840)
def test_status_answers_root_beside_a_hostile_user(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything opened all the time and nothing read, ten thousand calls, ten thousand processes: all at once."""
    with service("always") as supervisor:
        before = control.request("status")["generation"]
        quiet = max(answer_s() for _ in range(3))
        with attack():
            took = []
            end = time.monotonic() + FOR_S
            while time.monotonic() < end:
                took.append(answer_s())
                time.sleep(0.5)
            number = len([name for name in os.listdir("/proc") if name.isdecimal()])
            assert number >= PROCESSES
            memory = Path(f"/proc/{supervisor.pid}/status").read_text()
            with socket.create_connection(("127.0.0.1", 9714), timeout=10) as scraper:
                scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert scraper.recv(15) == b"HTTP/1.1 200 OK"
            command = [sys.executable, "-m", "scx_gamer", "stop"]
            done = subprocess.run(command, timeout=60, check=False, capture_output=True)
            assert done.returncode == 0, done.stderr
        assert control.request("status")["generation"] == before and supervisor.poll() is None
        control.request("start")
        wait_until("the scheduler", lambda: kernel_state() == "enabled", 90)
        resident = next(line for line in memory.splitlines() if line.startswith("VmRSS"))
        with capsys.disabled():
            print(
                f"\nbeside {number} processes: status in {max(took):.2f} s, {quiet:.2f} s alone, {resident}"
            )
        assert max(took) < WITHIN_S + 2 * quiet  # an emulated guest's own answer takes its time
