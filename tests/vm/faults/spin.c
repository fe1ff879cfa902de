// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads that never sleep. Usage: spin THREADS. All are there before the first one spins; then "spinning" is printed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_barrier_t all_here;

static void *spin(void *unused)
{
	volatile unsigned long turns = 0;

	pthread_barrier_wait(&all_here);
	for (;;)
		turns++;
	return unused;
}

int main(int argc, char **argv)
{
	long count = argc == 2 ? atol(argv[1]) : 0;
	pthread_attr_t attr;
	pthread_t thread;

	if (count < 2)
		return 2;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 16);
	pthread_barrier_init(&all_here, NULL, count);
	for (long i = 1; i < count; i++) {
		if (pthread_create(&thread, &attr, spin, NULL)) {
			perror("pthread_create");
			return 1;
		}
	}
	puts("spinning");
	fflush(stdout);
	spin(NULL);
	return 0;
}
