# SPDX-License-Identifier: GPL-2.0-or-later
"""Wake-ups of the supervisor and the agent: what a battery pays for a daemon that does nothing."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scx_gamer import control
from tests.processes import running
from tests.vm.harness import kernel_state, wait_until
from tests.vm.systemd.conftest import drop_in, show, start, status
from tests.vm.user_manager import user_manager

SECONDS = 30
SETTLED_S = 10  # what is put off until after the start, and what a game's start sets off, is over
USER = "nobody"
FRAMES = "import time\nwhile True: time.sleep(1 / 60)"


def slept(pid: int) -> int:
    """Return the sleeps of a process, all its threads together; each ended with a wake-up."""
    found = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        text = (thread / "status").read_text()
        found += int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.M)[0])
    return found


def processes(group: str) -> list[int]:
    return [int(pid) for pid in Path(f"/sys/fs/cgroup{group}/cgroup.procs").read_text().split()]


def a_second(what: str, group: str) -> float:
    """Measure and print the wake-ups a second of a cgroup's processes over SECONDS."""
    time.sleep(SETTLED_S)
    pids = processes(group)
    before, began = sum(map(slept, pids)), time.monotonic()
    time.sleep(SECONDS)
    found = (sum(map(slept, pids)) - before) / (time.monotonic() - began)
    print(f"MEASURED {what}: {found:.2f} wake-ups a second")
    assert pids and processes(group) == pids
    return found


@contextmanager
def a_game() -> Iterator[None]:
    with running([sys.executable, "-c", FRAMES]) as game:
        control.request("game_add", pid=game.pid, timeout_s=60)
        wait_until("the scheduler", lambda: kernel_state() == "enabled", 90, 0.5)
        yield


def test_the_supervisor_and_the_agent_sleep() -> None:
    drop_in(mode="auto")
    start()
    wait_until("idle", lambda: status()["state"] == "idle", 60, 0.5)
    group = show("ControlGroup")["ControlGroup"]
    # One beat a second, for the watchdog. Beside a game the loop wakes 2.4 times a second, for frames and a look at who
    # sleeps; the other waits are the kernel's, for whoever adds to its maps or writes a record.
    assert a_second("supervisor without a game", group) < 2
    with a_game():
        assert a_second("supervisor beside a game", group) < 12
    with user_manager(USER, "/tmp") as systemctl:
        assert systemctl("start", "scx-gamer-agent") == ""
        shown = systemctl("show", "-P", "ControlGroup", "scx-gamer-agent").strip()
        assert a_second("agent without a game", shown) < 1
        with a_game():
            assert a_second("agent beside a game", shown) < 2
