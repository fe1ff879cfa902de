// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A virtual mouse of no known vendor that moves at a fixed rate. Usage: writer RATE_HZ SECONDS [pad]
 * With "pad" a pad that lies on a table instead, and reports all of its controls each time, as hid-playstation does.
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
	BATCH_MAX = 64,
	PAD_AXES = 6,
	PAD_KEYS = 13,
	EVENTS_MAX = PAD_AXES + PAD_KEYS + 1
};

static struct input_event events[BATCH_MAX * EVENTS_MAX];

static void put(int *at, int type, int code, int value)
{
	events[*at].type = type;
	events[*at].code = code;
	events[(*at)++].value = value;
}

/* Events of a report; all of them are written into `events`. */
static int make_mouse(int fd)
{
	int at = 0;

	if (ioctl(fd, UI_SET_EVBIT, EV_KEY) || ioctl(fd, UI_SET_KEYBIT, BTN_LEFT) ||
	    ioctl(fd, UI_SET_EVBIT, EV_REL) || ioctl(fd, UI_SET_RELBIT, REL_X) ||
	    ioctl(fd, UI_SET_RELBIT, REL_Y))
		return -1;
	for (int i = 0; i < BATCH_MAX; i++) {
		put(&at, EV_REL, REL_X, i % 2 ? 1 : -1);
		put(&at, EV_SYN, SYN_REPORT, 0);
	}
	return 2;
}

static int make_pad(int fd)
{
	int at = 0;

	if (ioctl(fd, UI_SET_EVBIT, EV_KEY) || ioctl(fd, UI_SET_EVBIT, EV_ABS))
		return -1;
	for (int i = 0; i < PAD_KEYS; i++)
		if (ioctl(fd, UI_SET_KEYBIT, BTN_SOUTH + i))
			return -1;
	for (int i = 0; i < PAD_AXES; i++) {
		struct uinput_abs_setup axis = {.code = i,
						.absinfo = {.value = 128, .maximum = 255}};

		if (ioctl(fd, UI_ABS_SETUP, &axis))
			return -1;
	}
	for (int n = 0; n < BATCH_MAX; n++) {
		for (int i = 0; i < PAD_AXES; i++)
			put(&at, EV_ABS, i, 128);
		for (int i = 0; i < PAD_KEYS; i++)
			put(&at, EV_KEY, BTN_SOUTH + i, 0);
		put(&at, EV_SYN, SYN_REPORT, 0);
	}
	return EVENTS_MAX;
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct uinput_setup setup = {.id = {.bustype = BUS_USB, .vendor = 0xfefe, .product = 0x1}};
	double rate, seconds, start, elapsed;
	long done = 0;
	int fd, batch, line, each, pad = argc == 4 && !strcmp(argv[3], "pad");

	if (argc != 3 && !pad)
		return 2;
	rate = atof(argv[1]);
	seconds = atof(argv[2]);
	fd = open("/dev/uinput", O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		perror("/dev/uinput");
		return 1;
	}
	strcpy(setup.name, pad ? "writer pad" : "writer mouse");
	each = pad ? make_pad(fd) : make_mouse(fd);
	if (each < 0 || ioctl(fd, UI_DEV_SETUP, &setup) || ioctl(fd, UI_DEV_CREATE)) {
		perror("uinput");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	line = getchar();
	if (line == EOF)
		return 1;
	start = now_s();
	while ((elapsed = now_s() - start) < seconds) {
		batch = rate > 0 ? (int)(elapsed * rate) - (int)done : BATCH_MAX;
		if (batch > BATCH_MAX)
			batch = BATCH_MAX;
		if (batch > 0) {
			if (write(fd, events, (size_t)batch * each * sizeof(events[0])) < 0) {
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
