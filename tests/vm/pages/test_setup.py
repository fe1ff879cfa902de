# SPDX-License-Identifier: GPL-2.0-or-later
"""`scx-gamer setup` after an installation: as an ordinary user, dry, for real, and once more."""

from __future__ import annotations

import pwd
import subprocess
from collections.abc import Callable, Iterator

import pytest

from scx_gamer.system.exit_codes import FAILED, NO_PERMISSION
from tests.vm.systemd.conftest import UNIT, run, show, status
from tests.vm.user_manager import user_manager

PLAYER = "scxg-player"
AGENT = "scx-gamer-agent.service"


@pytest.fixture
def systemctl() -> Iterator[Callable[..., str]]:
    """The user's `systemctl --user`."""
    run("useradd", "--create-home", PLAYER)
    try:
        with user_manager(PLAYER, pwd.getpwnam(PLAYER).pw_dir) as call:
            yield call
    finally:
        run("systemctl", "disable", "--now", UNIT, check=False)
        run("userdel", "--remove", "--force", PLAYER, check=False)


def setup(*words: str, code: int = 0) -> list[str]:
    done = subprocess.run(
        ["env", *words], capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL
    )
    assert done.returncode == code, done
    return (done.stdout + done.stderr).splitlines()


def units() -> tuple[str, str]:
    found = show("UnitFileState", "ActiveState")
    return found["UnitFileState"], found["ActiveState"]


@pytest.mark.timeout(600)
def test_everything_is_switched_on_once(systemctl: Callable[..., str]) -> None:
    command = ("scx-gamer", "setup")
    sudo = (f"SUDO_UID={pwd.getpwnam(PLAYER).pw_uid}", *command)
    (refusal,) = setup("runuser", "-u", PLAYER, "--", *command, code=NO_PERMISSION)
    assert refusal.endswith("run: sudo scx-gamer setup")

    assert f"service: {UNIT} would be enabled and started" in (dry := setup(*command, "--dry-run"))
    assert f"left: agent: as the user who plays, run: systemctl --user enable --now {AGENT}" in dry
    assert units() == ("disabled", "inactive")

    said = setup(*sudo)
    assert said[0].startswith("doctor: scx-gamer works here")
    assert f"service: {UNIT} enabled and started" in said
    assert f"agent: {AGENT} of {PLAYER} enabled and started" in said
    assert units() == ("enabled", "active") and status()["state"] == "idle"
    agent = systemctl("show", AGENT, "-pUnitFileState", "-pActiveState", "-pMainPID").split()
    assert {"UnitFileState=enabled", "ActiveState=active"} < set(agent)

    pid = show("MainPID")
    said = setup(*sudo)
    assert f"service: {UNIT} is enabled and runs, as before" in said
    assert f"agent: {AGENT} of {PLAYER} is enabled and runs, as before" in said
    assert show("MainPID") == pid
    assert (
        systemctl("show", AGENT, "-pUnitFileState", "-pActiveState", "-pMainPID").split() == agent
    )

    systemctl("mask", "--now", "--runtime", AGENT)
    said = setup(*sudo, code=FAILED)
    assert f"({AGENT} is masked; install the package, or unmask the unit)" in said[-1]
