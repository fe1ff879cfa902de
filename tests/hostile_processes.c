/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many processes that sleep, for a few pages each: chains in which each is the parent of the next.
 *
 *   hostile_processes COUNT    prints how many there are when no more are started: COUNT, if the kernel lets there be
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	CHAIN = 100
};

static void run_chain(int told)
{
	for (int depth = 1;; depth++) {
		if (write(told, "x", 1) != 1)
			_exit(1);
		if (depth == CHAIN || fork() != 0)
			break;
	}
	close(told);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 0, seen = 0, got;
	static char bytes[65536];
	int told[2];

	if (pipe(told))
		return 1;
	for (long chain = 0; chain < count / CHAIN; chain++)
		if (fork() == 0)
			run_chain(told[1]);
	close(told[1]);
	while ((got = read(told[0], bytes, sizeof(bytes))) > 0)
		seen += got;
	printf("%ld\n", seen);
	fflush(stdout);
	for (;;)
		pause();
}
