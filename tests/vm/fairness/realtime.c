/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A game's thread that spins, and a real-time thread that follows it: as often as the first argument says it binds
 * itself to the CPU that the game runs on, and spins there for the second argument's milliseconds. Prints the number
 * of bursts in which the game went on, and the game's longest gap in us.
 */

#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
static struct {
	_Atomic int cpu;
	_Atomic unsigned long turns, longest;
} *shared;
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
	printf("%d\n", game);
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
	printf("%d %lu\n", moved, shared->longest / 1000);
	return 0;
}
