# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions of evdev and DRM, which are modules here, as the unit's capabilities and its filter of calls reach them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scx_gamer import control
from tests.processes import running
from tests.vm.harness import wait_until
from tests.vm.input import devices
from tests.vm.screen.test_flips import window
from tests.vm.systemd.conftest import UNIT, drop_in, journal, run, show, start, status

MODULES = ("uinput", "evdev", "vgem")
# argv: device of a keyboard, render node. A thread each.
GAME = """
import fcntl, os, sys, threading, time
def submit():
    fd = os.open(sys.argv[2], os.O_RDWR)
    while True:
        try: fcntl.ioctl(fd, 0xc0106441, bytearray(16))
        except OSError: pass
        time.sleep(0.2)
threading.Thread(target=submit, daemon=True).start()
source = os.open(sys.argv[1], os.O_RDONLY)
while True: os.read(source, 2400)
"""


def started(pid: int) -> None:
    """The unit as it is installed, with a game."""
    drop_in(mode="auto")
    start()
    words = Path(f"/proc/{show('MainPID')['MainPID']}/status").read_text().split()
    assert words[words.index("Seccomp:") + 1] == "2" and words[words.index("Uid:") + 1] != "0"
    control.request("game_add", pid=pid)


def facts(pid: int) -> set[str]:
    """Roles of its threads that are known by facts."""
    rows = control.request("explain", pid=pid)["threads"]
    return {row["role"] for row in rows if row["since_s"] is not None}


@pytest.mark.timeout(600)
def test_roles_of_threads_are_told_by_facts() -> None:
    subprocess.run(["modprobe", "-a", *MODULES], check=True, timeout=60)
    assert all(Path("/sys/module", name, "initstate").exists() for name in ("evdev", "drm"))
    node = next(Path("/dev/dri").glob("renderD*"))
    program = [os.path.realpath(sys.executable), "-S", "-c", GAME]
    with devices.keyboard() as keys, running([*program, str(keys.device.path), str(node)]) as game:
        started(game.pid)
        wait_until("the hooks", lambda: status()["detection"]["threads"] == "ok", 90)
        found: set[str] = set()

        def pressed() -> bool:
            devices.key(keys, 30, 1)
            devices.key(keys, 30, 0)
            found.update(facts(game.pid))
            return found >= {"input", "submit"}

        try:
            wait_until("each role", pressed, 120, 0.2)
        finally:
            print(found, status()["detection"], journal())
        assert status()["detection"]["threads_why"] == ""
        said = run("scx-gamer", "doctor", check=False, timeout_s=300)
        print(said)
        assert "game's GPU" in said and "game's threads" not in said


@pytest.mark.timeout(600)
def test_flips_are_counted(desktop: dict[str, str]) -> None:
    """No better source tells of this window: it wakes at uneven times, and MangoHud does not log it."""
    with window(desktop, 300) as (client, _):
        started(client.pid)

        def told() -> dict[str, Any] | None:
            frames = status().get("frames") or {"count": 0}
            return frames if frames["count"] > 100 else None

        try:
            frames = wait_until("frames", told, 240, every_s=1)
        finally:
            print(status().get("frames"), journal())
        print(f"MEASURED flips under {UNIT}: {frames['count']}, {frames['tells']}")
        assert frames["source"] == "flips" and "weston asked for" in frames["tells"]
