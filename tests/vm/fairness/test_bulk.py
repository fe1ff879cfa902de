# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads of a game that say themselves that they are in no hurry give way to its others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("how", ["nice", "idle", "batch"])
def test_a_thread_of_the_game_that_is_in_no_hurry_gives_way(how: str) -> None:
    """Two of the game's threads that want the same CPU wait for each other's turns, but this one is preempted."""
    with attach() as life:
        life.control.set("game_active", 1)
        field = f"preempt_kicks[{life.abi['CLASS_GAME']}]"
        late, kicks = lateness_us(how, life), life.total(field)
        equal, kicks_of_equal = lateness_us("as ever", life), life.total(field) - kicks
    print(
        f"MEASURED {how}: median {late} us late, {kicks} preemptions; {equal} us late beside an equal thread,"
        f" {kicks_of_equal} preemptions"
    )
    # Of 151 wake-ups; with an emulated CPU some find nothing that runs.
    assert kicks > 75
    assert kicks_of_equal < 15
