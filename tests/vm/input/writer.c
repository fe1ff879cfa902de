// SPDX-License-Identifier: GPL-2.0-only
/*
 * A virtual mouse of no known vendor that moves at a fixed rate. Usage: writer RATE_HZ SECONDS
 * Reports are written in batches of one millisecond, as python could not at 8 kHz; rate 0 floods.
 * Prints "ready", then waits for a line on stdin; at the end prints the reports per second it made.
 */
#include <fcntl.h>
#include <linux/uinput.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
	BATCH_MAX = 64
};

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct uinput_setup setup = {.id = {.bustype = BUS_USB, .vendor = 0xfefe, .product = 0x1}};
	static struct input_event events[BATCH_MAX * 2];
	double rate, seconds, start, elapsed;
	long done = 0;
	int fd, batch, line;

	if (argc != 3)
		return 2;
	rate = atof(argv[1]);
	seconds = atof(argv[2]);
	fd = open("/dev/uinput", O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		perror("/dev/uinput");
		return 1;
	}
	strcpy(setup.name, "writer mouse");
	if (ioctl(fd, UI_SET_EVBIT, EV_KEY) || ioctl(fd, UI_SET_KEYBIT, BTN_LEFT) ||
	    ioctl(fd, UI_SET_EVBIT, EV_REL) || ioctl(fd, UI_SET_RELBIT, REL_X) ||
	    ioctl(fd, UI_SET_RELBIT, REL_Y) || ioctl(fd, UI_DEV_SETUP, &setup) ||
	    ioctl(fd, UI_DEV_CREATE)) {
		perror("uinput");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	line = getchar();
	if (line == EOF)
		return 1;
	for (int i = 0; i < BATCH_MAX; i++) {
		events[2 * i].type = EV_REL;
		events[2 * i].code = REL_X;
		events[2 * i].value = i % 2 ? 1 : -1;
		events[2 * i + 1].type = EV_SYN;
		events[2 * i + 1].code = SYN_REPORT;
	}
	start = now_s();
	while ((elapsed = now_s() - start) < seconds) {
		batch = rate > 0 ? (int)(elapsed * rate) - (int)done : BATCH_MAX;
		if (batch > BATCH_MAX)
			batch = BATCH_MAX;
		if (batch > 0) {
			if (write(fd, events, batch * 2 * sizeof(events[0])) < 0) {
				perror("write");
				return 1;
			}
			done += batch;
		}
		if (rate > 0)
			usleep(1000);
	}
	printf("%.0f\n", done / elapsed);
	return 0;
}
