# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian package and the agent of a user, upgraded and removed while a game runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.debian import with_version
from tests.vm.harness import kernel_state, wait_until
from tests.vm.package.conftest import (
    DEB,
    UNIT,
    USER,
    Steps,
    files,
    game,
    install_and_enable,
    journal,
    purge,
    run,
    wait_state,
)
from tests.vm.user_manager import user_manager


@contextmanager
def agent_of_a_user() -> Iterator[None]:
    """The agent's unit under a user's own systemd, with a session bus."""
    with user_manager(USER, "/tmp") as systemctl:
        assert systemctl("is-enabled", "scx-gamer-agent").strip() == "disabled"
        assert systemctl("start", "scx-gamer-agent") == ""

        def log() -> str:
            found = run(
                "journalctl", "-b", "_COMM=scx-gamer", "--no-pager", "-o", "cat", check=False
            )
            return found + systemctl("status", "scx-gamer-agent")

        wait_until(
            "the agent listens",
            lambda: "reading events of desktop, overlay line, GameMode, notices" in log(),
            240,
        )
        assert systemctl("is-active", "scx-gamer-agent").strip() == "active"
        yield
        assert systemctl("is-active", "scx-gamer-agent").strip() == "active", log()


@pytest.mark.timeout(700)  # less than the guest has, so that it can say where it stood
def test_upgraded_and_removed_while_a_game_runs(deb: Path, tmp_path: Path) -> None:
    later = with_version(deb, "99.0", tmp_path)
    steps, before = Steps("upgrade"), files()
    install_and_enable(deb)
    steps.done("installed and idle")
    with game() as played:
        with agent_of_a_user():
            wait_state("attached")
            steps.done("the agent listens; attached")
            first = run("systemctl", "show", UNIT, "-pMainPID")
            run("dpkg", "-i", str(later))  # the new one takes over
            assert run("systemctl", "show", UNIT, "-pMainPID") != first
            wait_state("attached")
            assert played.poll() is None
            assert "ERROR" not in journal(), journal()
            steps.done("upgraded")
        run("dpkg", "-r", DEB)
        assert kernel_state() == "disabled" and played.poll() is None
        steps.done("removed")
    assert not Path("/usr/bin/scx-gamer").exists()
    assert Path("/var/lib/scx-gamer/state.json").exists(), "what a purge takes, a removal keeps"
    purge(before)
    steps.done("purged")
