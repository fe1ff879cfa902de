# SPDX-License-Identifier: GPL-2.0-or-later
"""org.scx.Loader with polkit's word and the package's files: a front end's buttons move the kernel's scheduler."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.processes import running
from tests.vm.bus.conftest import ASK_S, MANAGER, STRANGER, owned
from tests.vm.bus.service import prop, service
from tests.vm.harness import kernel_state, wait_until

NAME = "org.scx.Loader"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def loader() -> Iterator[None]:
    command = ["/usr/bin/scx-gamer", "loader"]
    with service("always"), running(command, stdin=subprocess.DEVNULL) as process:
        wait_until("the name", lambda: owned(NAME), 120, ASK_S)
        yield
        process.terminate()
        assert process.wait(60) == 0


def ask(user: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["runuser", "-u", user, "--", "busctl", "--timeout=60", "--", *words[:1]]
    return subprocess.run(
        [*command, NAME, "/org/scx/Loader", NAME, *words[1:]],
        capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip


def current(user: str) -> str:
    return ask(user, "get-property", "CurrentScheduler", "SchedulerMode").stdout


def test_whoever_polkit_allows_switches_and_stops(loader: None) -> None:
    assert current(STRANGER) == 's "scx_gamer"\nu 0\n'
    done = ask(MANAGER, "call", "SwitchScheduler", "su", "scx_gamer", "1")
    assert done.returncode == 0 and prop("ActiveProfile") == "gaming", done
    done = ask(MANAGER, "call", "StopScheduler")
    assert done.returncode == 0 and kernel_state() == "disabled", done
    assert current(STRANGER) == 's "unknown"\nu 0\n'
    done = ask(MANAGER, "call", "StartScheduler", "su", "scx_gamer", "0")
    assert done.returncode == 0, done
    wait_until("the scheduler", lambda: kernel_state() == "enabled", 90)


def test_strangers_change_nothing(loader: None) -> None:
    for words in (("StopScheduler",), ("SwitchScheduler", "su", "scx_gamer", "1")):
        done = ask(STRANGER, "call", *words)
        # busctl has words of its own for this error, whatever the service says
        assert done.returncode != 0 and "Access denied" in done.stderr, done
    done = ask(MANAGER, "call", "StartSchedulerWithArgs", "sas", "scx_gamer", "1", "--fast")
    assert done.returncode != 0 and "takes no arguments" in done.stderr, done
    assert kernel_state() == "enabled" and prop("ActiveProfile") == "auto"
