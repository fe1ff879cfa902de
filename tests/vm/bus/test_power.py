# SPDX-License-Identifier: GPL-2.0-or-later
"""The power profile is held for a game, by the service's own user too, and free after a kill in the middle of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import running
from tests.vm.bus.conftest import ASK_S, STRANGER, owned
from tests.vm.bus.service import service
from tests.vm.harness import wait_until

NAME = "net.hadess.PowerProfiles"
DROP_IN = Path("/etc/scx-gamer/conf.d/power.toml")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def daemon() -> Iterator[None]:
    """power-profiles-daemon with its driver for tests, because a guest has no such hardware."""
    found = next(
        Path(p) for p in ("/usr/libexec", "/usr/lib") if Path(p, "power-profiles-daemon").exists()
    )
    with running(
        [found / "power-profiles-daemon"],
        env={**os.environ, "POWER_PROFILE_DAEMON_FAKE_DRIVER": "1"}, stdin=subprocess.DEVNULL,
    ):  # fmt: skip
        wait_until("the daemon", lambda: owned(NAME), 60, ASK_S)
        yield


def active() -> str:
    path = "/" + NAME.replace(".", "/")
    command = ["busctl", "get-property", NAME, path, NAME, "ActiveProfile"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.split('"')[1]


def test_the_services_user_may_hold_and_others_may_not(daemon: None) -> None:
    for user, allowed in (("scx-gamer", True), (STRANGER, False)):
        command = ["busctl", "call", NAME, "/" + NAME.replace(".", "/"), NAME, "HoldProfile"]
        done = subprocess.run(
            ["runuser", "-u", user, "--", *command, "sss", "performance", "a test", "x"],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        assert (done.returncode == 0) is allowed, done


def test_held_for_a_game_and_free_after_a_kill(daemon: None) -> None:
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text('[power]\nprofile = "performance"\n')
    command = ["scx-gamer", "exec", "--", "sleep", "300"]
    try:
        with service("auto") as supervisor:
            assert active() == "balanced"
            with running(command, stdin=subprocess.DEVNULL):
                wait_until("the hold", lambda: active() == "performance", 60, ASK_S)
                doctor = subprocess.run(
                    ["scx-gamer", "doctor"], capture_output=True, text=True, timeout=300
                )
                assert "power profile: performance is held" in doctor.stdout
                supervisor.send_signal(signal.SIGKILL)
                wait_until("the end of the hold", lambda: active() == "balanced", 60, ASK_S)
    finally:
        DROP_IN.unlink()
