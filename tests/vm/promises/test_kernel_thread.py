# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel thread that computes does not stay on the other half of a core on which the game computes."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from scx_gamer.system.procfs import pids, read
from tests.processes import running
from tests.vm.attach.conftest import attach, attached
from tests.vm.fairness.test_shield import SPIN, shares

THP = Path("/sys/kernel/mm/transparent_hugepage")
pytestmark = pytest.mark.needs(str(THP / "khugepaged"))


@contextmanager
def busy_khugepaged(cpus: set[int]) -> Iterator[int]:
    """khugepaged (its pid) without its sleep, allowed on these CPUs: a kernel thread that always computes."""
    settings = {THP / "enabled": "always", THP / "khugepaged/scan_sleep_millisecs": "0"}
    with ExitStack() as stack:
        for path, value in settings.items():
            before = path.read_text()
            stack.callback(path.write_text, before[before.find("[") + 1 :].split("]")[0])
            path.write_text(value)
        stack.enter_context(mmap.mmap(-1, 16 << 20)).write(b"x" * (16 << 20))  # to be scanned
        pid = next(p for p in pids() if read(p, "comm") == b"khugepaged\n")
        stack.callback(os.sched_setaffinity, pid, os.sched_getaffinity(pid))
        os.sched_setaffinity(pid, cpus)
        yield pid


def test_a_kernel_thread_that_computes_leaves_the_games_sibling() -> None:
    with ExitStack() as stack:
        life = stack.enter_context(attach(has_smt=1, cpu_sibling=[1, 0, 3, 2]))
        games = [
            stack.enter_context(running(["taskset", "-c", cpu, "/bin/sh", "-c", SPIN]))
            for cpu in ("0", "2")
        ]
        entry = life.abi.pack("scxg_class_entry", class_id=life.abi.constants["SCXG_CLASS_GAME"])
        for game in games:
            life.observe.maps["classes"].update(game.pid.to_bytes(4, sys.byteorder), entry)
        pid = stack.enter_context(busy_khugepaged({1, 3}))
        life.sleep(0.5)
        (alone,) = shares(life, pid)
        life.control.set("class_epoch", 1)
        life.control.set("game_active", 1)
        life.sleep(0.5)
        (beside,) = shares(life, pid)
        print(f"khugepaged {alone:.2f} of a CPU without a game, {beside:.2f} beside one")
        assert attached()
    assert alone > 0.8
    assert 0 < beside < 0.3
