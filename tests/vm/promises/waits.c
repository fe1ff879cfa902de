/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A game, and how long its thread waits for what is not its own. Prints its pid, and after a line of input p50, p99 and the
 * longest of the waits, in us, and how many there were.
 *
 * lock SECONDS WHOSE HOW    for a lock, once in 4 ms. A thread of nice 19 has it for 0.3 of each ms that it computes: of the
 *                           game (inside) or of another program (outside). HOW: plain or pi; light: it sleeps for the rest
 * poll SECONDS              from a frame's time to its flip. The main thread never sleeps: it polls for input, computes 6 ms,
 *                           wakes the thread that flips and spins until the next frame; two threads a CPU help, 0.2 ms each
 * read SECONDS DEVICE       for 4 KiB of a device, every few ms, while two threads a CPU compute
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#define MAX_WAITS 4096
#define MS 1000000L
#define BLOCK 4096
#define PERIOD 16666667L
static pthread_mutex_t *lock;
static int light, input, device, flips[2];
static void *block;
static long due;
static volatile long waits[MAX_WAITS];
static volatile int nr;
static long ns_of(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}
static void compute(long ns)
{
	long end = ns_of(CLOCK_THREAD_CPUTIME_ID) + ns;

	while (ns_of(CLOCK_THREAD_CPUTIME_ID) < end)
		;
}
static void waited_since(long ns)
{
	if (nr < MAX_WAITS)
		waits[nr++] = (ns_of(CLOCK_MONOTONIC) - ns) / 1000;
}
static void *hold(void *arg)
{
	setpriority(PRIO_PROCESS, gettid(), 19);
	for (;;) {
		pthread_mutex_lock(lock);
		compute(300000);
		pthread_mutex_unlock(lock);
		if (light)
			usleep(700);
		else
			compute(700000);
	}
	return arg;
}
static void rest(void)
{
	usleep(3000 + nr * 617 % 2000); /* in step with nothing */
}
static int start_helpers(void *(*run)(void *))
{
	pthread_t thread;

	for (long left = 2 * sysconf(_SC_NPROCESSORS_ONLN); left; left--)
		if (pthread_create(&thread, NULL, run, (void *)left))
			return 1;
	return 0;
}
static void take_lock(void)
{
	long asked = ns_of(CLOCK_MONOTONIC);

	pthread_mutex_lock(lock);
	waited_since(asked);
	compute(20000);
	pthread_mutex_unlock(lock);
	rest();
}
static int start_lock(const char *whose, const char *how)
{
	pthread_mutexattr_t attr;
	pthread_t holder;

	light = !strcmp(how, "light");
	lock = mmap(NULL, sizeof(*lock), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (!strcmp(how, "pi"))
		pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	if (lock == MAP_FAILED || pthread_mutex_init(lock, &attr))
		return 1;
	if (!strcmp(whose, "inside"))
		return pthread_create(&holder, NULL, hold, NULL);
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		hold(NULL);
	}
	return 0;
}
static void *help(void *arg)
{
	for (unsigned int n = 0;; n++) {
		usleep(500 + (n * 617 + (unsigned int)(long)arg * 271) % 2500);
		compute(200000);
	}
	return arg;
}
static void *show(void *arg)
{
	long frame;

	while (read(flips[0], &frame, sizeof(frame)) == sizeof(frame)) {
		compute(500000);
		waited_since(frame);
	}
	return arg;
}
static void play_frame(void)
{
	unsigned long reports;
	long late = ns_of(CLOCK_MONOTONIC) - due;

	due += (late / PERIOD + 1) * PERIOD;
	while (ns_of(CLOCK_MONOTONIC) < due)
		(void)!read(input, &reports, sizeof(reports));
	compute(6 * MS);
	if (write(flips[1], &due, sizeof(due)) != sizeof(due))
		exit(1);
}
static int start_poll(void)
{
	struct itimerspec each = {{0, MS}, {0, MS}};
	pthread_t thread;

	input = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	return start_helpers(help) || pipe(flips) || timerfd_settime(input, 0, &each, NULL) ||
	       pthread_create(&thread, NULL, show, NULL);
}
static void *spin(void *arg)
{
	for (;;)
		compute(MS);
	return arg;
}
static void read_block(void)
{
	long asked = ns_of(CLOCK_MONOTONIC);

	if (pread(device, block, BLOCK, (off_t)BLOCK * (nr % 256)) != BLOCK)
		exit(1);
	waited_since(asked);
	rest();
}
static int start_read(const char *path)
{
	device = open(path, O_RDONLY | O_DIRECT);
	return device < 0 || posix_memalign(&block, BLOCK, BLOCK) || start_helpers(spin);
}
static int less(const void *a, const void *b)
{
	return (*(const long *)a > *(const long *)b) - (*(const long *)a < *(const long *)b);
}
int main(int argc, char **argv)
{
	void (*once)(void) = NULL;
	long end, *all = (long *)waits;

	if (argc == 5 && !strcmp(argv[1], "lock") && !start_lock(argv[3], argv[4]))
		once = take_lock;
	else if (argc == 3 && !strcmp(argv[1], "poll") && !start_poll())
		once = play_frame;
	else if (argc == 4 && !strcmp(argv[1], "read") && !start_read(argv[3]))
		once = read_block;
	if (!once)
		return 1;
	printf("%d\n", getpid());
	fflush(stdout);
	getchar();
	end = ns_of(CLOCK_MONOTONIC) + (long)(atof(argv[2]) * 1e9);
	due = ns_of(CLOCK_MONOTONIC);
	while (ns_of(CLOCK_MONOTONIC) < end)
		once();
	qsort(all, (size_t)nr, sizeof(*all), less);
	printf("%ld %ld %ld %d\n", all[nr / 2], all[nr * 99 / 100], all[nr - 1], nr);
	return 0;
}
