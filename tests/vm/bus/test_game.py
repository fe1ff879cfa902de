# SPDX-License-Identifier: GPL-2.0-or-later
"""In a file of its own: the service of test_bus.py has ended."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.vm.bus.conftest import ASK_S, STRANGER
from tests.vm.bus.service import prop, service
from tests.vm.harness import kernel_state, wait_until


@pytest.mark.timeout(600)
def test_ordinary_user_starts_a_game() -> None:
    """`exec` of somebody who may nothing: a process of their own is a game, and the scheduler comes."""
    with service("auto"):
        game = subprocess.Popen(
            ["runuser", "-u", STRANGER, "--", "scx-gamer", "exec", "--", "sleep", "300"],
            stdin=subprocess.DEVNULL, cwd="/", start_new_session=True,
        )  # fmt: skip
        try:
            wait_until("the scheduler", lambda: kernel_state() == "enabled", 60)
            wait_until("the game", lambda: prop("ActiveGame") > 0, 90, ASK_S)
        finally:
            os.killpg(game.pid, signal.SIGKILL)
            game.wait(10)
        wait_until("the kernel's scheduler", lambda: kernel_state() == "disabled", 90)
