/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * target SECONDS [spin | EVENT]: what the probes are asked about. "ticker" wakes "sleeper" 200 times a second, "drawer"
 * calls draw_frame() 50 times a second; "spinner" never lets go of its CPU, "reader" reads the input device EVENT.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/input.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static sem_t ticks;
static volatile unsigned long frames;

__attribute__((noinline, used, visibility("default"))) void draw_frame(void)
{
	frames++;
}

static void sleep_until(struct timespec *next, long period_ns)
{
	next->tv_nsec += period_ns;
	while (next->tv_nsec >= 1000000000L) {
		next->tv_nsec -= 1000000000L;
		next->tv_sec++;
	}
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL);
}

static void *ticker(void *unused)
{
	struct timespec next;

	pthread_setname_np(pthread_self(), "ticker");
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (;;) {
		sleep_until(&next, 5000000);
		sem_post(&ticks);
	}
	return unused;
}

static void *sleeper(void *unused)
{
	pthread_setname_np(pthread_self(), "sleeper");
	for (;;)
		sem_wait(&ticks);
	return unused;
}

static void *drawer(void *unused)
{
	struct timespec next;

	pthread_setname_np(pthread_self(), "drawer");
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (;;) {
		sleep_until(&next, 20000000);
		draw_frame();
	}
	return unused;
}

static void *spinner(void *unused)
{
	pthread_setname_np(pthread_self(), "spinner");
	for (;;)
		frames += 0;
	return unused;
}

static void *reader(void *path)
{
	struct input_event event;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	pthread_setname_np(pthread_self(), "reader");
	if (fd < 0) {
		perror(path);
		exit(1);
	}
	while (read(fd, &event, sizeof(event)) > 0)
		;
	return NULL;
}

int main(int argc, char **argv)
{
	void *(*bodies[])(void *) = {ticker, sleeper, drawer};
	unsigned int i;
	pthread_t thread;

	sem_init(&ticks, 0, 0);
	for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		if (pthread_create(&thread, NULL, bodies[i], NULL))
			return 1;
	if (argc > 2 &&
	    pthread_create(&thread, NULL, strcmp(argv[2], "spin") ? reader : spinner, argv[2]))
		return 1;
	puts("ready");
	fflush(stdout);
	sleep(argc > 1 ? atoi(argv[1]) : 60);
	return 0;
}
