# SPDX-License-Identifier: GPL-2.0-or-later
"""A real-time thread takes the CPU of a game's thread while others idle: the game's thread does not wait for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import running
from tests.programs import built
from tests.vm.attach.conftest import Life, attach, attached

PROGRAM = Path(__file__).with_name("realtime.c")
HITS, BURST_MS = 10, 50


def hit(life: Life | None, burst_ms: int) -> Iterator[int]:
    """Bursts during which the game went on, and its longest gap in us."""
    words = [str(built(PROGRAM)), str(HITS), str(burst_ms)]
    with running(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        game = int(process.stdout.readline())
        try:
            if life is not None:
                life.mark(game, "GAME")
            process.stdin.write("\n")
            process.stdin.flush()
            yield from map(int, process.stdout.readline().split())
        finally:
            os.kill(game, 9)


@pytest.mark.needs("/sys/devices/system/cpu/cpu1")
def test_the_game_goes_on_elsewhere() -> None:
    with attach() as life:
        life.control.set("game_active", 1)
        moved, longest = hit(life, BURST_MS)
        assert attached() or life.ended()
    print(f"MEASURED the game went on in {moved} of {HITS} bursts, longest gap {longest} us")
    # One burst may fall into the moment in which the game leaves its CPU anyway.
    assert moved >= HITS - 1


@pytest.mark.small_kernel
def test_with_one_cpu_nothing_is_lost() -> None:
    with attach() as life:
        moved, longest = hit(life, 20)
        assert attached() or life.ended()
    print(f"MEASURED one CPU: {moved} bursts with the game, longest gap {longest} us")
    assert longest < 1_000_000
