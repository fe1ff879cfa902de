# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads of a game that are in no hurry, by their own word or because they never rest, give way to its others."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.processes import running
from tests.programs import built
from tests.vm.attach.conftest import Life, attach

GAME = Path(__file__).with_name("bulk.c")


def lateness_us(how: str, life: Life) -> int:
    with running(
        [built(GAME), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        life.mark(process.pid, "GAME")
        life.beat()
        process.stdin.write("\n")
        process.stdin.flush()
        return int(process.stdout.readline())


def test_threads_of_the_game_that_are_in_no_hurry_give_way() -> None:
    """Two of the game's threads that work for a frame wait for each other's turns, but these are preempted."""
    kicks = {}
    with attach() as life:
        life.control.set("game_active", 1)
        field = f"preempt_kicks[{life.abi['CLASS_GAME']}]"
        for how in ("frames", "ever", "nice", "idle", "batch"):
            before = life.total(field)
            late = lateness_us(how, life)
            kicks[how] = life.total(field) - before
            print(f"MEASURED {how}: median {late} us late, {kicks[how]} preemptions")
    # Of 75 wake-ups; with an emulated CPU some find nothing that runs.
    assert kicks.pop("frames") < 7
    assert min(kicks.values()) > 37, kicks
