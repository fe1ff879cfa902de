# SPDX-License-Identifier: GPL-2.0-or-later
"""Ten thousand calls of the bus that mean no good, by root and by an ordinary user, with polkit: nothing changes."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control
from scx_gamer.dbus.endpoint import _BURST, _PER_SECOND
from scx_gamer.libbpf import kernel
from scx_gamer.system.inotify import Inotify
from tests import hostile
from tests.vm.bus.conftest import STRANGER
from tests.vm.bus.service import service
from tests.vm.harness import kernel_state

OPEN = 0x20  # of inotify
PROGRAM = Path(hostile.__file__)
CALLS = 5_000
ERROR = "org.freedesktop.DBus.Error."


def state() -> dict[str, Any]:
    """Return the state that no call may change."""
    body = control.request("status")
    profile = body["profile"]
    return {
        **{
            name: body[name] for name in ("pid", "state", "generation", "mode", "games", "failures")
        },
        **{name: profile[name] for name in ("active", "chosen", "tunables", "changes")},
        "holds": body["bus"]["holds"],
        "wishes": body["network"]["wishes"],
    }


def attack(user: str, *more: str) -> dict[str, int]:
    """Return the results of the calls. The program is passed as text: the user may be unable to read this tree."""
    done = subprocess.run(
        ["runuser", "-u", user, "--", "/usr/bin/python3", "-c", PROGRAM.read_text(), *more],
        capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    ends = json.loads(done.stdout)
    assert sum(ends.values()) == CALLS
    return dict(ends)


@pytest.mark.timeout(840)
def test_hostile_calls_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    sentinel = Path("/run/sentinel")
    sentinel.mkdir()
    for name in ("x", "x.toml"):
        (sentinel / name).write_text("[tunables]\nslice_us = 777\n")
    with service("always") as supervisor, Inotify() as opened:
        for path in (sentinel, Path("/etc/shadow")):
            opened.add(path, OPEN)
        before, loaded = state(), set(kernel.names("prog").values())
        by_root = attack("root", "1", str(CALLS))
        assert state() == before
        began = time.monotonic()
        by_stranger = attack(STRANGER, "2", str(CALLS), "right")
        share = _BURST + _PER_SECOND * (time.monotonic() - began)
        assert state() == before
        assert supervisor.poll() is None and kernel_state() == "enabled"
        assert set(kernel.names("prog").values()) == loaded
        with pytest.raises(BlockingIOError):
            print([event for event in opened.read() if event.name in ("x", "x.toml")])
        log = Path("/run/scx-gamer.log").read_text()
        assert "Traceback" not in log and "internal error" not in log, log[-3000:]
    with capsys.disabled():
        print(f"\nroot: {by_root}\n{STRANGER}: {by_stranger}")
    # Calls beyond the share are refused, and names whose user is not known yet have one of their own; on a very slow
    # machine no call is beyond them. Some of the others would change something.
    assert by_stranger.get(f"{ERROR}LimitsExceeded", 0) >= CALLS - 2 * share
    assert by_stranger[f"{ERROR}AccessDenied"] > 0
    assert by_root.get("answered", 0) < CALLS / 10
