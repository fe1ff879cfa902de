# SPDX-License-Identifier: GPL-2.0-or-later
"""A real-time thread takes the CPU of a game's thread while others idle: the game's thread does not wait for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.attach.conftest import Life, attach, attached

# A game's thread that spins, and a real-time thread that follows it: HITS times it binds itself to the CPU that the
# game runs on, and spins there for BURST milliseconds. Prints the number of bursts in which the game went on, and the
# game's longest gap.
PROGRAM = """
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
static struct { _Atomic int cpu; _Atomic unsigned long turns, longest; } *shared;
static long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}
static void play(void)
{
	for (unsigned long then = now(), at;; then = at) {
		at = now();
		if (at - then > shared->longest)
			shared->longest = at - then;
		shared->cpu = sched_getcpu();
		shared->turns++;
	}
}
int main(int argc, char **argv)
{
	int hits = atoi(argv[1]), burst_ms = atoi(argv[2]), moved = 0;
	struct sched_param first = {.sched_priority = 1};
	pid_t game;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	game = fork();
	if (!game)
		play();
	printf("%d\\n", game);
	fflush(stdout);
	getchar();
	if (sched_setscheduler(0, SCHED_RR, &first))
		return 1;
	shared->longest = 0;
	for (int hit = 0; hit < hits; hit++) {
		struct timespec rest = {.tv_nsec = 12700000};
		unsigned long before;
		cpu_set_t there;
		long end;

		nanosleep(&rest, NULL);
		CPU_ZERO(&there);
		CPU_SET(shared->cpu, &there);
		if (sched_setaffinity(0, sizeof(there), &there))
			return 1;
		before = shared->turns;
		for (end = now() + burst_ms * 1000000L; now() < end;)
			;
		moved += shared->turns != before;
	}
	printf("%d %lu\\n", moved, shared->longest / 1000);
	return 0;
}
"""
HITS, BURST_MS = 10, 300  # an emulated CPU has its turn after up to 100 ms


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("realtime")
    (folder / "realtime.c").write_text(PROGRAM)
    subprocess.run(["cc", "-O1", "realtime.c", "-o", "realtime"], cwd=folder, check=True)
    return folder / "realtime"


def hit(program: Path, life: Life | None, burst_ms: int) -> Iterator[int]:
    """Bursts during which the game went on, and its longest gap in us."""
    words = [str(program), str(HITS), str(burst_ms)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
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
def test_the_game_goes_on_elsewhere(program: Path) -> None:
    with attach() as life:
        life.control.set("game_active", 1)
        moved, longest = hit(program, life, BURST_MS)
        assert attached() or life.ended()
    print(f"MEASURED the game went on in {moved} of {HITS} bursts, longest gap {longest} us")
    # One burst may fall into the moment in which the game leaves its CPU anyway.
    assert moved >= HITS - 1


@pytest.mark.small_kernel
def test_with_one_cpu_nothing_is_lost(program: Path) -> None:
    with attach() as life:
        moved, longest = hit(program, life, 20)
        assert attached() or life.ended()
    print(f"MEASURED one CPU: {moved} bursts with the game, longest gap {longest} us")
    assert longest < 1_000_000
