# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers of `trace` about a process with known behaviour, with the real bcc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from scx_gamer.libbpf import kernel
from tests.processes import running
from tests.vm.harness import start_supervisor, wait_until
from tests.vm.trace.conftest import (
    EVENTS,
    TRACE,
    answer,
    groups,
    target,
)


@EVENTS
def test_wakeups_by_waker_of_the_game_that_runs(binary: Path) -> None:
    """Joined to the running session: no PID, the game that the supervisor knows."""
    with start_supervisor() as supervised, target(binary) as pid:
        supervised.ask("game_add", pid=pid)
        found = answer("wakeups", SCX_GAMER_RUNTIME_DIR=str(supervised.root / "run"))
        assert found["pid"] == pid
        by = groups(found)
        # 3 s of 200 wake-ups a second by the ticker; its own timer is an interrupt
        assert 300 < by["ticker"]["count"] < 900, by
        assert by["(interrupt)"]["count"] > 100 or sum(g["count"] for g in by.values()) > 900, by
        ticker = by["ticker"]
        assert 0 < ticker["p50_us"] <= ticker["p99_us"] <= ticker["max_us"] * 1.13
        assert sum(count for _, count in ticker["histogram"]) == ticker["count"]


@EVENTS
def test_threads_that_begin_later_are_followed(binary: Path) -> None:
    """A process whose only thread makes another each 50 ms, and waits for it."""
    code = (
        "import threading, time\n"
        "while True:\n"
        "    t = threading.Thread(target=lambda: time.sleep(0.02)); t.start(); t.join()\n"
        "    time.sleep(0.03)\n"
    )
    with running([sys.executable, "-S", "-c", code]) as process:
        time.sleep(0.5)
        found = answer("wakeups", str(process.pid))
    # its own wake-ups from sleep alone are one a round; the new threads double that
    rounds = 3 / 0.05
    assert sum(group["count"] for group in found["groups"]) > rounds, found


@EVENTS
def test_who_preempts_names_the_hog(binary: Path) -> None:
    with target(binary, "spin") as pid:
        before = set(kernel.ids("prog"))
        argv = [*TRACE, "who-preempts", str(pid), "--json", "--seconds", "8"]
        with running(argv, stdout=subprocess.PIPE, text=True) as asked:
            # not earlier: the compiler needs a CPU too
            wait_until("the probe", lambda: set(kernel.ids("prog")) - before, 150)
            with ExitStack() as stack:
                for _ in range(2 * (os.cpu_count() or 1)):
                    stack.enter_context(running(["sh", "-c", "while :; do :; done"]))
                out, _ = asked.communicate(timeout=150)
    found = json.loads(out)
    by = groups(found)
    assert by["sh"]["count"] >= 3, by
    assert by["sh"]["max_us"] > 500, by
