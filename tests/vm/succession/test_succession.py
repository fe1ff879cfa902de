# SPDX-License-Identifier: GPL-2.0-or-later
"""One scheduler after another, tasks that change what they are, and books that balance."""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from collections.abc import Callable

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.libbpf import kernel
from scx_gamer.system.procfs import stat_of
from tests.processes import running
from tests.vm.attach.conftest import Life, attach, gone
from tests.vm.harness import start_supervisor, wait_until

RESTARTS = 8  # what each leaves is seen after one; two hundred cycles are in tests/vm/soak

# Sixteen threads that come, sleep and go for as long as the process lives.
CHURN = """
import threading, time
def short():
    time.sleep(0.002)
def life():
    while True:
        thread = threading.Thread(target=short)
        thread.start()
        thread.join()
for _ in range(16):
    threading.Thread(target=life, daemon=True).start()
time.sleep(600)
"""


def test_a_stale_timer_does_not_end_the_next_scheduler() -> None:
    """The old object stays open, and its timer would report an error if it still ran."""
    with attach(faulty=True, fault_error_ms=4000) as old:
        old.sleep(0.5)
        old.link.close()
        assert gone()
        with attach() as following:
            following.sleep(7)
            assert following.exit.get("kind") == 0
            assert following.state.get("ticks") > 10


def classify(life: Life, tgid: int, name: str | None) -> None:
    """As the drain would: an entry or none, and a new epoch."""
    abi = life.abi
    key = struct.pack("<I", tgid)
    if name is None:
        life.sched.maps["classes"].delete(key)
    else:
        entry = abi.pack("scxg_class_entry", class_id=abi[f"CLASS_{name}"])
        life.sched.maps["classes"].update(key, entry)
    life.control.set("class_epoch", life.control.get("class_epoch") + 1)


def test_gauges_count_live_tasks_and_end_at_zero() -> None:
    with attach() as life:
        with running([sys.executable, "-c", CHURN]) as churn:
            for name in ("GAME", "CRITICAL", None, "GAME", "BACKGROUND", "GAME", "CRITICAL") * 2:
                classify(life, churn.pid, name)
                life.sleep(0.4)
            most = max(life.state.get(f"tasks[{number}]") for number in range(5))

        def tasks() -> list[int]:
            return [life.state.get(f"tasks[{number}]") for number in range(5)]

        ours = [life.abi["CLASS_GAME"], life.abi["CLASS_CRITICAL"]]
        life.wait(lambda: not any(tasks()[number] for number in ours))
        assert max(most, *tasks()) < 100_000, f"a gauge went below zero: {tasks()}"
        alive = sum(
            len(os.listdir(f"/proc/{name}/task"))
            for name in os.listdir("/proc")
            if name.isdecimal()
        )
        assert sum(tasks()) <= alive + 10


def test_a_hog_is_charged_all_of_its_runtime() -> None:
    """Not one slice of it: alone on its CPU it is not stopped for seconds."""
    with attach() as life:
        command = ["nice", "-n", "19", "/bin/sh", "-c", "while :; do :; done"]
        with running(command) as hog:
            life.sleep(3)
            hog.send_signal(signal.SIGSTOP)
            life.sleep(0.5)
            stat = stat_of(hog.pid)
            assert stat is not None
            ran_s = stat.cpu / os.sysconf("SC_CLK_TCK")
            background = life.abi["CLASS_BACKGROUND"]
            charged_s = life.total(f"run_ns[{background}]") / 1e9
        print(f"ran {ran_s:.2f} s, charged {charged_s:.2f} s")
        assert ran_s > 1
        assert 0.8 * ran_s < charged_s < 1.25 * ran_s


Shape = tuple[int, int, tuple[int, ...]]


def shape(pid: int) -> Shape:
    """Descriptors, threads, and the numbers of BPF objects: what restarts must leave as it is."""
    counts = tuple(len(kernel.names(kind)) for kind in ("prog", "map", "link", "btf"))
    return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")), counts


def settled(probe: Callable[[], Shape]) -> Shape:
    """BPF objects of the generation before go a moment later, and a client's connection too."""
    best = probe()
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        time.sleep(0.1)
        best = min(best, probe(), key=lambda one: (sum(one[2]), *one[:2]))
    return best


def is_within(now: Shape, before: Shape) -> bool:
    counts = zip((*now[:2], *now[2]), (*before[:2], *before[2]), strict=True)
    return all(one <= other for one, other in counts)


def test_restarts_leave_everything_flat() -> None:
    with start_supervisor(SupervisorOptions(mode="always")) as sup:
        sup.ask("restart")
        sup.wait_state("attached")
        before, generation = settled(lambda: shape(sup.pid)), sup.status()["generation"]
        for _ in range(RESTARTS):
            assert sup.ask("restart")["state"] == "attached"
        wait_until("no more than before", lambda: is_within(shape(sup.pid), before))
        status = sup.status()
        assert status["generation"] == generation + RESTARTS and status["failures"] == 0
        wait_until("ticks", lambda: sup.status()["scheduler"]["ticks"] > 0)
