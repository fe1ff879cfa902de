/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A game on CPU 0: a thread computes, in the way of the first argument ("frames": 5 of each 10 ms), and one sleeps for 3 and
 * 8 ms in turn.
 * Prints the median of how late the second one runs, in us.
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#define WAKES 75
static const char *how;
static long late[WAKES];
static long ms_of(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
static void *spin(void *arg)
{
	struct sched_param none = {0};
	long end;

	if (!strcmp(how, "nice"))
		setpriority(PRIO_PROCESS, gettid(), 15);
	if (!strcmp(how, "idle"))
		sched_setscheduler(gettid(), SCHED_IDLE, &none);
	if (!strcmp(how, "batch"))
		sched_setscheduler(gettid(), SCHED_BATCH, &none);
	for (;;) {
		end = ms_of(CLOCK_THREAD_CPUTIME_ID) + 5;
		while (ms_of(CLOCK_THREAD_CPUTIME_ID) < end)
			;
		if (!strcmp(how, "frames"))
			usleep(5000);
	}
	return arg;
}
static int less(const void *a, const void *b)
{
	return (*(const long *)a > *(const long *)b) - (*(const long *)a < *(const long *)b);
}
int main(int argc, char **argv)
{
	struct timespec next, now;
	pthread_t thread;
	cpu_set_t zero;

	how = argv[1];
	CPU_ZERO(&zero);
	CPU_SET(0, &zero);
	if (sched_setaffinity(0, sizeof(zero), &zero) || pthread_create(&thread, NULL, spin, NULL))
		return 1;
	printf("\n");
	fflush(stdout);
	getchar();
	for (int i = 0; i < WAKES; i++) {
		clock_gettime(CLOCK_MONOTONIC, &next);
		/* in step with no clock: that would preempt, too */
		next.tv_nsec += i % 2 ? 8000000 : 3000000;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
		late[i] = (now.tv_sec - next.tv_sec) * 1000000000L + now.tv_nsec - next.tv_nsec;
	}
	qsort(late, WAKES, sizeof(long), less);
	printf("%ld\n", late[WAKES / 2] / 1000);
	return 0;
}
