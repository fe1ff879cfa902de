# SPDX-License-Identifier: GPL-2.0-or-later
"""SMT shield: the other half of a core is kept free while the game computes. The guest's CPUs are declared siblings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from scx_gamer.system.procfs import parse_stat, read
from tests.processes import running
from tests.vm.attach.conftest import Life, attach, attached

CPUS = os.cpu_count() or 1
pytestmark = pytest.mark.needs("/sys/devices/system/cpu/cpu1")
SPIN = "while :; do :; done"


@contextmanager
def beside(*, isolate: int = 1) -> Iterator[tuple[Life, subprocess.Popen[bytes], int]]:
    """A program of the game that spins on CPU 0, and a hog (its pid) bound to the other half of the core."""
    siblings = [cpu ^ 1 if cpu ^ 1 < CPUS else cpu for cpu in range(CPUS)]
    with ExitStack() as stack:
        life = stack.enter_context(attach(has_smt=1, cpu_sibling=siblings))
        life.tunables.set(f"value[{life.abi.constants['SCXG_TUN_SMT_ISOLATE']}]", isolate)

        def spin(*prefix: str) -> subprocess.Popen[bytes]:
            return stack.enter_context(running([*prefix, "/bin/sh", "-c", SPIN]))

        game = spin("taskset", "-c", "0")
        entry = life.abi.pack("scxg_class_entry", class_id=life.abi.constants["SCXG_CLASS_GAME"])
        life.observe.maps["classes"].update(game.pid.to_bytes(4, sys.byteorder), entry)
        life.control.set("class_epoch", 1)
        life.control.set("game_active", 1)
        hog = spin("taskset", "-c", "1")
        life.sleep(0.5)
        yield life, game, hog.pid


def shares(life: Life, *pids: int, seconds: float = 1) -> list[float]:
    """Return the shares of a CPU that the processes get in the same time."""

    def ran() -> list[int]:
        return [parse_stat(os.fsdecode(read(pid, "stat"))).cpu for pid in pids]

    before = ran()
    life.sleep(seconds)
    ticks = seconds * os.sysconf("SC_CLK_TCK")
    return [(now - then) / ticks for now, then in zip(ran(), before, strict=True)]


def test_the_games_sibling_is_kept_free_but_starves_nobody() -> None:
    with beside() as (life, game, hog):
        held = life.total("shield_ns")
        computing, bound = shares(life, game.pid, hog)
        held = life.total("shield_ns") - held
        game.send_signal(signal.SIGSTOP)
        (alone,) = shares(life, hog)
        # Where this process or a turn that was due has the sibling just then, the game finds no hog to take away.
        for _ in range(20):
            game.send_signal(signal.SIGCONT)
            life.sleep(0.3)
            if life.total("shield_kicks"):
                break
            game.send_signal(signal.SIGSTOP)
            life.sleep(0.3)
        print(f"game {computing:.2f}, hog {bound:.3f} beside it, {alone:.2f} without")
        assert attached()
        assert life.total("shield_kicks") >= 1 and held > 0.5e9
    assert computing > 0.8
    # It has its turn when its deadline has come, and its share of the CPU as soon as the game sleeps.
    assert 0 < bound < 0.25
    assert alone > 0.8


def test_without_smt_isolate_the_sibling_runs_anything() -> None:
    with beside(isolate=0) as (life, game, hog):
        assert min(shares(life, hog, game.pid)) > 0.8
        assert life.total("shield_kicks") == life.total("shield_ns") == 0
