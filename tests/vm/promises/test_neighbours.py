# SPDX-License-Identifier: GPL-2.0-or-later
"""Waits of the game for a lock that another thread holds, for its own helpers, and for a kernel worker."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from scx_gamer.bench.workload import Workload
from tests.processes import running
from tests.programs import built
from tests.vm.attach.conftest import Life, attach

GAME = Path(__file__).with_name("waits.c")
SECONDS = 1.0
LOCKS = [("inside", "plain"), ("outside", "plain"), ("outside", "pi"), ("outside", "light")]
SECTION_US = 300  # for which a holder computes with the lock
FRAMES = 60 * SECONDS
READ_US = 2000  # by default 71
READS = 240 * SECONDS


class Waits(NamedTuple):
    """In us, and how many there were."""

    p50: int
    p99: int
    longest: int
    nr: int


def waits_us(life: Life | None, kind: str, *how: str) -> Waits:
    words = [str(built(GAME)), kind, str(SECONDS), *how]
    with running(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as game:
        assert game.stdin is not None and game.stdout is not None
        game.stdout.readline()
        if life is not None:
            life.mark(game.pid, "GAME")
            life.control.set("game_active", 1)
            life.sleep(0.2)
        game.stdin.write("\n")
        game.stdin.flush()
        return Waits(*map(int, game.stdout.readline().split()))


@pytest.fixture
def encrypted_disk() -> Iterator[str]:
    """A device of 4 MiB, of which each block that is read is decrypted by a kernel worker that any CPU may run."""
    run = partial(subprocess.run, check=True, timeout=60)
    for words in (["brd", "rd_nr=1", "rd_size=4096"], ["dm-crypt"]):
        run(["modprobe", *words])
    table = f"0 8192 crypt aes-xts-plain64 {'00' * 64} 0 /dev/ram0 0"
    run(["dmsetup", "--noudevsync", "create", "scxg-crypt", "--table", table])
    yield "/dev/mapper/scxg-crypt"
    run(["dmsetup", "--noudevsync", "remove", "scxg-crypt"])
    for name in ("dm-crypt", "brd"):
        run(["modprobe", "-r", name])


@contextmanager
def loads(*kinds: str) -> Iterator[None]:
    """Two tasks a CPU of each of these loads."""
    with ExitStack() as stack:
        for kind in kinds:
            words = ("--kind", kind, "--per-cpu", 2, "--seconds", 3600, "--calibration", 100)
            stack.enter_context(Workload("load", *words, "--live")).wait_ready()
        yield


def compare(beside: Sequence[str], *games: Sequence[str]) -> tuple[list[list[Waits]], int]:
    """Of each game: ours without load, ours beside it, by default beside it. And the places lent beside the load."""
    with attach() as life:
        table = [[waits_us(life, *game)] for game in games]
    with loads(*beside):
        with attach() as life:
            for game, row in zip(games, table, strict=True):
                row.append(waits_us(life, *game))
            lends = life.total("lock_lends")
        for game, row in zip(games, table, strict=True):
            row.append(waits_us(None, *game))
            print("MEASURED alone, beside, by default:", *game, *row)
    return table, lends


def test_the_holder_of_a_lock_has_the_place_of_the_game_that_waits_for_it() -> None:
    """The game takes the lock once in 4 ms; who else takes it has nice 19."""
    table, lends = compare(["hogs"], *(("lock", *how) for how in LOCKS))
    print(f"MEASURED {lends} places lent")
    assert max(default.longest for *_, default in table) > 100_000, "this load says nothing"
    for alone, beside, _ in table:
        assert max(alone.p99, beside.p99) < 3 * SECTION_US
    assert lends > 30


def test_a_main_thread_that_never_sleeps_is_no_victim_of_the_games_helpers() -> None:
    table, _ = compare(["hogs"], ["poll"])
    ((alone, beside, default),) = table
    assert default.p99 > 1.5 * alone.p99, "this load says nothing"
    assert beside.p99 < 1.1 * alone.p99 and beside.nr > 0.9 * FRAMES


def test_a_kernel_worker_that_decrypts_goes_before_the_games_threads_that_compute(
    encrypted_disk: str,
) -> None:
    """And the thread that reads, too: they are the game's own, so no class makes room."""
    with attach() as life:
        waits = waits_us(life, "read", encrypted_disk)
    print("MEASURED read, ours and by default:", waits, waits_us(None, "read", encrypted_disk))
    assert waits.p99 < READ_US and waits.nr > 0.8 * READS
