/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * As many threads as the argument says that spin, and one that forks without end: in one small program, since a program
 * read over the guest's shared file system would wait behind all of them for each block.
 */

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static pthread_barrier_t start;
static void *spin(void *arg)
{
	pthread_barrier_wait(&start);
	for (;;)
		__asm__ volatile("" ::: "memory");
	return arg;
}
int main(int argc, char **argv)
{
	int threads = atoi(argv[1]);
	pthread_attr_t attr;
	pthread_t thread;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	pthread_barrier_init(&start, 0, threads + 1);
	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread, &attr, spin, 0))
			return 1;
	pthread_barrier_wait(&start);
	for (;;) {
		pid_t child = fork();
		if (!child)
			_exit(0);
		waitpid(child, 0, 0);
	}
}
