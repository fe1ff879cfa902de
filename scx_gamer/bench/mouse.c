/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A virtual mouse that moves at a fixed rate, through /dev/uinput. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/uinput.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "workload.h"

static int create_mouse(const char *name)
{
	static const int rel[] = {REL_X, REL_Y, REL_WHEEL};
	static const int keys[] = {BTN_LEFT, BTN_RIGHT, BTN_MIDDLE};
	struct uinput_setup setup = {.id = {.bustype = BUS_USB, .vendor = 0x1209, .product = 1}};
	int fd = open("/dev/uinput", O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		die("cannot open /dev/uinput (be root, and 'modprobe uinput')");
	strncpy(setup.name, name, sizeof(setup.name) - 1);
	if (ioctl(fd, UI_SET_EVBIT, EV_REL) || ioctl(fd, UI_SET_EVBIT, EV_KEY))
		die("cannot set the mouse's event types");
	for (size_t i = 0; i < sizeof(rel) / sizeof(rel[0]); i++)
		if (ioctl(fd, UI_SET_RELBIT, rel[i]) || ioctl(fd, UI_SET_KEYBIT, keys[i]))
			die("cannot set the mouse's axes and buttons");
	if (ioctl(fd, UI_DEV_SETUP, &setup) || ioctl(fd, UI_DEV_CREATE))
		die("cannot create the virtual mouse");
	return fd;
}

static bool move(int fd, int dx)
{
	struct input_event ev[2] = {
	    {.type = EV_REL, .code = REL_X, .value = dx},
	    {.type = EV_SYN, .code = SYN_REPORT},
	};

	return write(fd, ev, sizeof(ev)) == sizeof(ev);
}

int cmd_mouse(const struct options *opt)
{
	uint64_t period = NSEC_PER_SEC / opt->hz, next, end, late_max = 0, moves = 0, skipped = 0;
	char sysname[64] = "";
	int fd;

	block_signals();
	fd = create_mouse(opt->name);
	if (ioctl(fd, UI_GET_SYSNAME(sizeof(sysname)), sysname) < 0)
		die("cannot read the virtual mouse's name");
	tell_ready(opt->ready_fd);
	if (opt->live) {
		printf("{\"ready\":true,\"device\":\"%s\"}\n", sysname);
		fflush(stdout);
	}
	next = next_step(now_ns() + period, 10 * NSEC_PER_MSEC);
	end = next + (uint64_t)(opt->seconds * 1e9);
	while (next < end && !stop_signal_until(next)) {
		uint64_t now = now_ns();

		if (now - next > late_max)
			late_max = now - next;
		if (!move(fd, moves % 64 < 32 ? 1 : -1))
			die("cannot write a mouse event");
		moves++;
		next += period;
		if (next + NSEC_PER_SEC < now) { /* a second behind: skip the time and report it */
			skipped += (now - next) / period;
			next = now;
		}
	}
	if (ioctl(fd, UI_DEV_DESTROY))
		die("cannot remove the virtual mouse");
	close(fd);
	printf("{\"kind\":\"mouse\",\"device\":\"%s\",\"hz\":%lu,\"moves\":%lu,\"skipped\":%lu,"
	       "\"late_max_us\":%.1f}\n",
	       sysname, opt->hz, (unsigned long)moves, (unsigned long)skipped,
	       (double)late_max / 1e3);
	return 0;
}
