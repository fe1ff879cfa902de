# SPDX-License-Identifier: GPL-2.0-or-later
"""The unit under a real systemd, in a guest that boots it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control
from scx_gamer.libbpf import kernel
from tests.vm.harness import kernel_state, wait_until
from tests.vm.installed import install

UNIT = "scx-gamer.service"
START = "[Service]\nExecStart=\nExecStart=/usr/bin/scx-gamer run --mode {}\n"
DROP_IN = Path("/run/systemd/system") / f"{UNIT}.d"


def run(*command: str, check: bool = True, timeout_s: float = 90) -> str:
    """Output of a command; AssertionError with all it said when it fails and must not."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{journal()}"
    return done.stdout


def journal() -> str:
    return subprocess.run(
        ["journalctl", "-u", UNIT, "--no-pager", "-o", "short-monotonic", "-n", "60"],
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=60,
    ).stdout


def show(*names: str) -> dict[str, str]:
    text = run("systemctl", "show", UNIT, "--no-pager", *(f"-p{name}" for name in names))
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def status() -> dict[str, Any]:
    found = control.request("status")
    assert isinstance(found, dict)
    return found


def drop_in(text: str = "", mode: str = "always") -> None:
    """Settings of the unit for the rest of the test; each reload of systemd takes seconds here."""
    DROP_IN.mkdir(parents=True, exist_ok=True)
    (DROP_IN / "test.conf").write_text(START.format(mode) + text)
    run("systemctl", "daemon-reload")


def start() -> None:
    run("systemctl", "start", UNIT)


def attached() -> dict[str, Any]:
    """The unit, started and attached."""
    if not (DROP_IN / "test.conf").exists():
        drop_in()
    start()
    wait_until("the scheduler", lambda: kernel_state() == "enabled", 120)
    return status()


def programs() -> frozenset[str]:
    """Names of the loaded BPF programs; systemd's own for its units come and go."""
    return frozenset(n for n in kernel.names("prog").values() if not n.startswith("sd_"))


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    install()
    run("systemctl", "daemon-reload")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """In place of the other folders': the unit is stopped and nothing of ours is left."""
    before = programs()
    yield
    run("systemctl", "stop", UNIT, check=False)
    run("systemctl", "reset-failed", UNIT, check=False)
    (DROP_IN / "test.conf").unlink(missing_ok=True)
    Path("/var/lib/scx-gamer/state.json").unlink(missing_ok=True)
    assert kernel_state() == "disabled"
    wait_until("BPF programs as before", lambda: programs() <= before, 30)
