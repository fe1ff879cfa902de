/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The benchmark's workload: a game-like load, background loads, a virtual mouse and the calibration
 * of their work. Each subcommand prints one JSON object.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

_Noreturn void die(const char *what)
{
	fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
	_exit(1);
}

uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		die("cannot read a clock");
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static struct timespec to_timespec(uint64_t ns)
{
	struct timespec ts = {
	    .tv_sec = (time_t)(ns / NSEC_PER_SEC),
	    .tv_nsec = (long)(ns % NSEC_PER_SEC),
	};

	return ts;
}

bool sleep_until(uint64_t deadline_ns)
{
	struct timespec ts = to_timespec(deadline_ns);

	if (now_ns() >= deadline_ns)
		return false;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
	return true;
}

uint64_t next_step(uint64_t ns, uint64_t step)
{
	return (ns / step + 1) * step;
}

void burn(uint64_t loops)
{
	uint64_t x = 1;

	/* The empty asm keeps the loop; a dependent multiply keeps it from depending on the width. */
	for (uint64_t i = 0; i < loops; i++) {
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		__asm__ volatile("" : "+r"(x));
	}
}

uint64_t mix(uint64_t seed, uint64_t a, uint64_t b)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + a * 0xd1b54a32d192ed03ULL + b;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* ---- samples ---- */

void *shared_alloc(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		die("cannot map shared memory");
	return p;
}

void samples_init(struct samples *s, uint32_t cap)
{
	s->value = shared_alloc((size_t)cap * sizeof(*s->value));
	s->cap = cap;
}

void sample_add(struct samples *s, uint64_t value)
{
	uint32_t n = atomic_load_explicit(&s->n, memory_order_relaxed);

	if (n == s->cap) {
		atomic_fetch_add_explicit(&s->lost, 1, memory_order_relaxed);
		return;
	}
	s->value[n] = value;
	atomic_store_explicit(&s->n, n + 1, memory_order_release);
}

static void sift_down(uint64_t *v, size_t root, size_t n)
{
	for (;;) {
		size_t child = 2 * root + 1;
		uint64_t tmp;

		if (child >= n)
			return;
		if (child + 1 < n && v[child + 1] > v[child])
			child++;
		if (v[root] >= v[child])
			return;
		tmp = v[root];
		v[root] = v[child];
		v[child] = tmp;
		root = child;
	}
}

/* Heapsort: glibc's qsort may allocate, and the live report sorts while the game runs. */
void sort_u64(uint64_t *v, size_t n)
{
	for (size_t i = n / 2; i-- > 0;)
		sift_down(v, i, n);
	for (size_t end = n; end-- > 1;) {
		uint64_t tmp = v[0];

		v[0] = v[end];
		v[end] = tmp;
		sift_down(v, 0, end);
	}
}

static uint64_t rank_of(const uint64_t *v, size_t n, unsigned int permille)
{
	size_t rank = (n * permille + 999) / 1000;

	return v[rank ? rank - 1 : 0];
}

struct percentiles percentiles_of(uint64_t *v, size_t n)
{
	struct percentiles p = {.n = (uint32_t)n};

	if (!n)
		return p;
	sort_u64(v, n);
	p.p50 = rank_of(v, n, 500);
	p.p99 = rank_of(v, n, 990);
	p.p999 = rank_of(v, n, 999);
	p.max = v[n - 1];
	return p;
}

void print_percentiles(const char *key, const struct percentiles *p, const char *after)
{
	printf("\"%s\":{\"n\":%u,\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}%s", key,
	       p->n, (double)p->p50 / 1e3, (double)p->p99 / 1e3, (double)p->p999 / 1e3,
	       (double)p->max / 1e3, after);
}

/* ---- futex events ---- */

static long futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

void event_post(struct event *e, uint32_t seq)
{
	atomic_store_explicit(&e->posted_ns, now_ns(), memory_order_relaxed);
	atomic_store_explicit(&e->seq, seq, memory_order_release);
	event_wake_all(e);
}

void event_wake_all(struct event *e)
{
	if (futex(&e->seq, FUTEX_WAKE, INT32_MAX, NULL) < 0)
		die("futex wake");
}

bool event_wait(struct event *e, uint32_t want, const _Atomic bool *stop, struct samples *s)
{
	/* The timeout catches a stop between the test and the sleep. */
	static const struct timespec poll = {.tv_nsec = 200 * NSEC_PER_MSEC};
	bool slept = false;

	for (;;) {
		uint32_t seen = atomic_load_explicit(&e->seq, memory_order_acquire);

		if ((int32_t)(seen - want) >= 0)
			break;
		if (atomic_load_explicit(stop, memory_order_relaxed))
			return false;
		if (!futex(&e->seq, FUTEX_WAIT, seen, &poll))
			slept = true;
		else if (errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT)
			die("futex wait");
	}
	if (slept && s) {
		uint64_t posted = atomic_load_explicit(&e->posted_ns, memory_order_relaxed);
		uint64_t now = now_ns();

		sample_add(s, now > posted ? now - posted : 0);
	}
	return true;
}

/* ---- process ---- */

static void stop_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
}

void block_signals(void)
{
	sigset_t set;

	stop_signals(&set);
	sigaddset(&set, SIGUSR1);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		die("cannot block signals");
}

static int signal_until(const sigset_t *set, uint64_t deadline_ns)
{
	for (;;) {
		uint64_t now = now_ns();
		struct timespec left = to_timespec(deadline_ns > now ? deadline_ns - now : 0);
		int number = sigtimedwait(set, NULL, &left);

		if (number > 0)
			return number;
		if (errno == EAGAIN)
			return 0;
		if (errno != EINTR)
			die("sigtimedwait");
	}
}

bool stop_signal_until(uint64_t deadline_ns)
{
	sigset_t set;

	stop_signals(&set);
	return signal_until(&set, deadline_ns);
}

int any_signal_until(uint64_t deadline_ns)
{
	sigset_t set;

	stop_signals(&set);
	sigaddset(&set, SIGUSR1);
	return signal_until(&set, deadline_ns);
}

void tell_ready(int fd)
{
	if (fd < 0)
		return;
	if (write(fd, "ready\n", 6) != 6)
		die("cannot write to --ready-fd");
	close(fd);
}

unsigned int online_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		die("sched_getaffinity");
	return (unsigned int)CPU_COUNT(&set);
}

/* ---- calibrate ---- */

#define CALIBRATE_LOOPS 200000ULL

struct calibrator {
	pthread_t thread;
	double seconds;
	double best;
	double mean;
};

static void *calibrator_fn(void *arg)
{
	struct calibrator *c = arg;
	uint64_t start = now_ns(), end = start + (uint64_t)(c->seconds * 1e9), last = start;
	uint64_t rounds = 0;

	while (last < end) {
		uint64_t now;
		double rate;

		burn(CALIBRATE_LOOPS);
		now = now_ns();
		rate = (double)CALIBRATE_LOOPS * 1e3 / (double)(now - last);
		if (rate > c->best)
			c->best = rate;
		last = now;
		rounds++;
	}
	c->mean = (double)(rounds * CALIBRATE_LOOPS) * 1e3 / (double)(last - start);
	return NULL;
}

/*
 * One thread reports the best rate seen, which is the machine's. With --busy one thread for each
 * CPU reports their mean: under emulation busy CPUs share one host thread, and work calibrated on
 * an idle machine would then never fit the frame.
 */
static int cmd_calibrate(const struct options *opt)
{
	unsigned int n = opt->busy ? online_cpus() : 1;
	struct calibrator *c = calloc(n, sizeof(*c));
	double rate = 0;

	if (!c)
		die("out of memory");
	for (unsigned int i = 0; i < n; i++) {
		c[i].seconds = opt->seconds;
		if (pthread_create(&c[i].thread, NULL, calibrator_fn, &c[i]))
			die("cannot start a thread");
	}
	for (unsigned int i = 0; i < n; i++) {
		pthread_join(c[i].thread, NULL);
		rate += opt->busy ? c[i].mean / n : c[i].best;
	}
	free(c);
	printf("{\"loops_per_us\":%.3f,\"threads\":%u,\"seconds\":%.3f}\n", rate, n, opt->seconds);
	return 0;
}

/* ---- command line ---- */

static const char usage[] =
    "usage: workload calibrate [--busy] [--seconds S]\n"
    "       workload game --shape few|chain30|workers|cpubound|unlocked|fps240 --calibration X\n"
    "                [--seconds S] [--seed N] [--period-us N] [--warmup-ms N] [--cpus N]\n"
    "                [--hz N (of the input)] [--log FILE] [--ready-fd FD] [--live]\n"
    "                [--on-signal (measure from SIGUSR1)]\n"
    "       workload load --kind "
    "hogs|compile|forkexec|messaging|pipes|memory|pinned|browser|clocks\n"
    "                --calibration X [--per-cpu X] [--seconds S] [--seed N] [--cpus N]\n"
    "                [--ready-fd FD] [--live]\n"
    "       workload mouse [--hz N] [--seconds S] [--name NAME] [--ready-fd FD] [--live]\n";

enum {
	OPT_SHAPE = 256,
	OPT_KIND,
	OPT_NAME,
	OPT_LOG,
	OPT_SECONDS,
	OPT_CALIBRATION,
	OPT_PER_CPU,
	OPT_SEED,
	OPT_HZ,
	OPT_PERIOD,
	OPT_WARMUP,
	OPT_CPUS,
	OPT_READY_FD,
	OPT_LIVE,
	OPT_ON_SIGNAL,
	OPT_BUSY
};

static const struct option long_options[] = {
    {"shape", required_argument, NULL, OPT_SHAPE},
    {"kind", required_argument, NULL, OPT_KIND},
    {"name", required_argument, NULL, OPT_NAME},
    {"log", required_argument, NULL, OPT_LOG},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"calibration", required_argument, NULL, OPT_CALIBRATION},
    {"per-cpu", required_argument, NULL, OPT_PER_CPU},
    {"seed", required_argument, NULL, OPT_SEED},
    {"hz", required_argument, NULL, OPT_HZ},
    {"period-us", required_argument, NULL, OPT_PERIOD},
    {"warmup-ms", required_argument, NULL, OPT_WARMUP},
    {"cpus", required_argument, NULL, OPT_CPUS},
    {"ready-fd", required_argument, NULL, OPT_READY_FD},
    {"live", no_argument, NULL, OPT_LIVE},
    {"on-signal", no_argument, NULL, OPT_ON_SIGNAL},
    {"busy", no_argument, NULL, OPT_BUSY},
    {NULL, 0, NULL, 0},
};

static _Noreturn void bad_usage(const char *why, const char *what)
{
	fprintf(stderr, "workload: %s: %s\n%s", why, what, usage);
	exit(2);
}

static double number(const char *name, const char *text, double lowest, double highest)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= lowest && v <= highest)) {
		fprintf(stderr, "workload: %s must be a number from %g to %g, not '%s'\n", name,
			lowest, highest, text);
		exit(2);
	}
	return v;
}

static void parse(struct options *opt, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case OPT_SHAPE:
			opt->shape = optarg;
			break;
		case OPT_KIND:
			opt->kind = optarg;
			break;
		case OPT_NAME:
			opt->name = optarg;
			break;
		case OPT_LOG:
			opt->log = optarg;
			break;
		case OPT_SECONDS:
			opt->seconds = number("--seconds", optarg, 0.05, 3600);
			break;
		case OPT_CALIBRATION:
			opt->calibration = number("--calibration", optarg, 0.01, 1e6);
			break;
		case OPT_PER_CPU:
			opt->per_cpu = number("--per-cpu", optarg, 0.01, 64);
			break;
		case OPT_SEED:
			opt->seed = (unsigned long)number("--seed", optarg, 0, 4294967295.0);
			break;
		case OPT_HZ:
			opt->hz = (unsigned long)number("--hz", optarg, 1, 20000);
			break;
		case OPT_PERIOD:
			opt->period_us = (unsigned long)number("--period-us", optarg, 1000, 1e6);
			break;
		case OPT_WARMUP:
			opt->warmup_ms = (unsigned long)number("--warmup-ms", optarg, 0, 60000);
			break;
		case OPT_CPUS:
			opt->cpus = (unsigned long)number("--cpus", optarg, 1, 1024);
			break;
		case OPT_READY_FD:
			opt->ready_fd = (int)number("--ready-fd", optarg, 0, 1e6);
			break;
		case OPT_LIVE:
			opt->live = true;
			break;
		case OPT_ON_SIGNAL:
			opt->on_signal = true;
			break;
		case OPT_BUSY:
			opt->busy = true;
			break;
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind != argc)
		bad_usage("unexpected argument", argv[optind]);
}

int main(int argc, char **argv)
{
	struct options opt = {
	    .seconds = 1,
	    .per_cpu = 1,
	    .seed = 1,
	    .hz = 1000,
	    .warmup_ms = 300,
	    .ready_fd = -1,
	    .name = "scx_gamer bench mouse",
	};
	const char *cmd = argc > 1 ? argv[1] : "";

	if (argc < 2)
		bad_usage("which subcommand", "none was given");
	if (!strcmp(cmd, "nop")) /* executed by the forkexec load */
		return 0;
	parse(&opt, argc - 1, argv + 1);
	if (!opt.cpus)
		opt.cpus = online_cpus();
	if (!strcmp(cmd, "calibrate"))
		return cmd_calibrate(&opt);
	if (!strcmp(cmd, "mouse"))
		return cmd_mouse(&opt);
	if (!strcmp(cmd, "game") || !strcmp(cmd, "load")) {
		if (opt.calibration <= 0)
			bad_usage("--calibration is needed", "take loops_per_us of 'calibrate'");
		return !strcmp(cmd, "game") ? cmd_game(&opt) : cmd_load(&opt);
	}
	bad_usage("unknown subcommand", cmd);
}
