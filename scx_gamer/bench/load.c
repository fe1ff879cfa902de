/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Background loads, each of which counts its work. All run as processes of one group, which the
 * parent ends. A load whose helper program fails reports an error instead of less work.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

#define MAX_TASKS 4096
#define CHUNK_US 50
#define MEMORY_BYTES (32UL << 20)
#define MESSAGE_BYTES 100
#define FAN 4 /* senders and receivers of one messaging group, each */
#define SOURCE_FUNCTIONS 60
#define RUNS_NS NSEC_PER_MSEC /* CPU time of a program that has got to its work */
#define RUN_LIMIT_S 60
#define CLOCK_PERIOD_NS (10 * NSEC_PER_MSEC)

/* One cache line per task, to prevent false sharing. */
struct task_count {
	_Alignas(64) _Atomic uint64_t work;
	_Atomic uint64_t gap_ns; /* longest time between two chunks beyond the chunk itself */
	_Atomic uint64_t failed;
	_Atomic pid_t program; /* that the task has begun last, 0 for none */
};

struct load {
	_Atomic bool stop;
	double loops_per_us;
	uint64_t seed;
	char source[64]; /* the compile load's input */
	struct task_count count[MAX_TASKS];
};

struct kind {
	const char *name;
	const char *unit;
	unsigned int procs; /* processes of one task */
	void (*fn)(struct load *load, unsigned int task, unsigned int role, int fds[2][2]);
	bool channels; /* needs fds: a pipe each way, or a socket pair */
};

static bool going(const struct load *load)
{
	return !atomic_load_explicit(&load->stop, memory_order_relaxed);
}

static void did(struct load *load, unsigned int task, uint64_t work)
{
	atomic_fetch_add_explicit(&load->count[task].work, work, memory_order_relaxed);
}

static void spin(struct load *load, unsigned int task)
{
	uint64_t loops = (uint64_t)(CHUNK_US * load->loops_per_us), longest = 0, last = now_ns();

	while (going(load)) {
		uint64_t now, gap;

		burn(loops);
		now = now_ns();
		gap = now - last;
		last = now;
		if (gap > longest + CHUNK_US * NSEC_PER_USEC) {
			longest = gap - CHUNK_US * NSEC_PER_USEC;
			atomic_store_explicit(&load->count[task].gap_ns, longest,
					      memory_order_relaxed);
		}
		did(load, task, 1);
	}
}

static void hogs(struct load *load, unsigned int task, unsigned int role, int fds[2][2])
{
	(void)role;
	(void)fds;
	spin(load, task);
}

static void pinned(struct load *load, unsigned int task, unsigned int role, int fds[2][2])
{
	cpu_set_t allowed, one;
	unsigned int nth, seen = 0;

	(void)role;
	(void)fds;
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		die("sched_getaffinity");
	nth = task % (unsigned int)CPU_COUNT(&allowed);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && seen++ == nth)
			CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		die("cannot pin a spinner");
	spin(load, task);
}

/* Run a program to its end; its pid is in *program. Return false unless it exits with 0. */
static bool run(const char *path, char *const argv[], _Atomic pid_t *program)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return false;
	if (!pid) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		if (null < 0 || dup2(null, STDOUT_FILENO) < 0)
			_exit(126);
		execvp(path, argv);
		_exit(127);
	}
	atomic_store_explicit(program, pid, memory_order_relaxed);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

static void count_runs(struct load *load, unsigned int task, const char *path, char *const argv[])
{
	while (going(load)) {
		if (run(path, argv, &load->count[task].program))
			did(load, task, 1);
		else if (going(load))
			atomic_fetch_add(&load->count[task].failed, 1);
	}
}

static void forkexec(struct load *load, unsigned int task, unsigned int role, int fds[2][2])
{
	static char name[] = "workload", nop[] = "nop";
	char *const argv[] = {name, nop, NULL};

	(void)role;
	(void)fds;
	count_runs(load, task, "/proc/self/exe", argv);
}

static void compile(struct load *load, unsigned int task, unsigned int role, int fds[2][2])
{
	static char gcc[] = "gcc", opt[] = "-O1", to_asm[] = "-S", out[] = "-o",
		    null[] = "/dev/null";
	char *const argv[] = {gcc, opt, to_asm, out, null, load->source, NULL};

	(void)role;
	(void)fds;
	count_runs(load, task, gcc, argv);
}

static bool transfer(int fd, bool out, size_t size)
{
	char buf[MESSAGE_BYTES] = {0};
	size_t done = 0;

	while (done < size) {
		ssize_t n =
		    out ? write(fd, buf + done, size - done) : read(fd, buf + done, size - done);

		if (n <= 0 && !(n < 0 && errno == EINTR))
			return false;
		if (n > 0)
			done += (size_t)n;
	}
	return true;
}

/* Two processes that send one byte back and forth. */
static void pipes(struct load *load, unsigned int task, unsigned int role, int fds[2][2])
{
	int out = role ? fds[1][1] : fds[0][1], in = role ? fds[0][0] : fds[1][0];

	while (going(load)) {
		if (!role && !transfer(out, true, 1))
			return;
		if (!transfer(in, false, 1))
			return;
		if (role && !transfer(out, true, 1))
			return;
		if (!role)
			did(load, task, 1);
	}
}

/* FAN senders and FAN receivers around one socket pair. */
static void messaging(struct load *load, unsigned int task, unsigned int role, int fds[2][2])
{
	bool sender = role < FAN;

	while (going(load)) {
		if (!transfer(sender ? fds[0][1] : fds[0][0], sender, MESSAGE_BYTES))
			return;
		if (!sender)
			did(load, task, 1);
	}
}

static void memory(struct load *load, unsigned int task, unsigned int role, int fds[2][2])
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	(void)role;
	(void)fds;
	while (going(load)) {
		char *p = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED) {
			atomic_fetch_add(&load->count[task].failed, 1);
			return;
		}
		for (size_t at = 0; at < MEMORY_BYTES && going(load); at += page) {
			p[at] = 1;
			did(load, task, 1);
		}
		munmap(p, MEMORY_BYTES);
	}
}

/*
 * A tab: a renderer that wakes at uneven times for bursts of very different length and asks
 * another process (the browser's own) for something after each.
 */
static void browser(struct load *load, unsigned int task, unsigned int role, int fds[2][2])
{
	for (uint64_t n = 0; going(load); n++) {
		uint64_t r = mix(load->seed, task, n);

		if (role) {
			if (!transfer(fds[0][0], false, 1))
				return;
			burn((uint64_t)(150 * load->loops_per_us));
			if (!transfer(fds[1][1], true, 1))
				return;
			continue;
		}
		sleep_until(now_ns() + (1 + r % 24) * NSEC_PER_MSEC);
		burn((uint64_t)((double)(200 + (r >> 32) % ((r >> 20) % 10 ? 3000 : 20000)) *
				load->loops_per_us));
		if (!transfer(fds[0][1], true, 1) || !transfer(fds[1][0], false, 1))
			return;
		did(load, task, 1);
	}
}

/* In step with a clock, the same one for all, as threads that want to pass for sound or video. */
static void clocks(struct load *load, unsigned int task, unsigned int role, int fds[2][2])
{
	(void)role;
	(void)fds;
	while (going(load)) {
		sleep_until(next_step(now_ns() + 1, CLOCK_PERIOD_NS));
		burn((uint64_t)(80 * load->loops_per_us));
		did(load, task, 1);
	}
}

static const struct kind kinds[] = {
    {"hogs", "chunks of 50 us", 1, hogs, false},
    {"compile", "files compiled", 1, compile, false},
    {"forkexec", "processes run", 1, forkexec, false},
    {"messaging", "messages of 100 bytes", 2 * FAN, messaging, true},
    {"pipes", "round trips", 2, pipes, true},
    {"memory", "pages touched", 1, memory, false},
    {"pinned", "chunks of 50 us", 1, pinned, false},
    {"browser", "bursts", 2, browser, true},
    {"clocks", "bursts of 80 us", 1, clocks, false},
};

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (name && !strcmp(kinds[i].name, name))
			return &kinds[i];
	fprintf(stderr, "workload: --kind must be one of");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		fprintf(stderr, " %s", kinds[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

/* A C file that keeps the compiler's optimiser busy for some tens of milliseconds. */
static void generate_source(struct load *load)
{
	FILE *f;
	int fd;

	strcpy(load->source, "/tmp/workload-XXXXXX.c");
	fd = mkstemps(load->source, 2);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f)
		die("cannot write the source to compile in /tmp");
	for (int i = 0; i < SOURCE_FUNCTIONS; i++)
		fprintf(
		    f,
		    "int f%d(const int *v, int n)\n{\n\tint a = %d, b = 1;\n"
		    "\tfor (int i = 0; i < n; i++) {\n\t\tif (v[i] %% %d)\n\t\t\ta += v[i] * b;\n"
		    "\t\telse\n\t\t\tb ^= a >> %d;\n\t\tswitch (b & 7) {\n\t\tcase 1: a++; break;\n"
		    "\t\tcase 3: a -= b; break;\n\t\tcase 5: b += i; break;\n\t\t}\n\t}\n"
		    "\treturn a + b;\n}\n",
		    i, i, i + 2, i % 13 + 1);
	if (fclose(f))
		die("cannot write the source to compile in /tmp");
}

static void open_channels(int fds[2][2], bool socket_pair)
{
	if (socket_pair) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds[0]))
			die("cannot open a socket pair (too many open files?)");
		return;
	}
	for (int i = 0; i < 2; i++)
		if (pipe2(fds[i], O_CLOEXEC))
			die("cannot open a pipe (too many open files?)");
}

static void close_channels(int fds[2][2])
{
	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 2; j++)
			if (fds[i][j] >= 0)
				close(fds[i][j]);
}

static void start_task(struct load *load, const struct kind *kind, unsigned int task, pid_t parent)
{
	int fds[2][2] = {{-1, -1}, {-1, -1}};

	if (kind->channels)
		open_channels(fds, kind->fn == messaging);
	for (unsigned int role = 0; role < kind->procs; role++) {
		pid_t pid = fork();

		if (pid < 0)
			die("cannot fork the load");
		if (pid)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		prctl(PR_SET_NAME, "load");
		signal(SIGPIPE, SIG_IGN);
		kind->fn(load, task, role, fds);
		_exit(0);
	}
	close_channels(fds);
}

/* A task runs once it has done work, or a program that it has begun computes. */
static bool runs(const struct task_count *task)
{
	clockid_t clock;
	struct timespec used;

	if (task->work || task->failed)
		return true;
	/* The program may have ended since: its work is counted then, at the next look. */
	return task->program && !clock_getcpuclockid(task->program, &clock) &&
	       !clock_gettime(clock, &used) && (used.tv_sec || (uint64_t)used.tv_nsec >= RUNS_NS);
}

/*
 * Print a line once every task runs, for the game that is measured beside them. Return false if a
 * signal comes first; a task that does not get to run has failed.
 */
static bool tell_running(struct load *load, unsigned int tasks)
{
	uint64_t limit_ns = now_ns() + RUN_LIMIT_S * NSEC_PER_SEC;

	for (unsigned int task = 0; task < tasks; task++)
		while (!runs(&load->count[task])) {
			if (stop_signal_until(now_ns() + NSEC_PER_MSEC))
				return false;
			if (now_ns() < limit_ns)
				continue;
			fprintf(stderr, "workload: task %u of %u does not run after %d s\n",
				task + 1, tasks, RUN_LIMIT_S);
			atomic_fetch_add(&load->count[task].failed, 1);
			return false;
		}
	printf("{\"ready\":true}\n");
	fflush(stdout);
	return true;
}

int cmd_load(const struct options *opt)
{
	const struct kind *kind = find_kind(opt->kind);
	struct load *load = shared_alloc(sizeof(*load));
	unsigned int tasks = (unsigned int)(opt->per_cpu * (double)opt->cpus + 0.5);
	uint64_t start, end, work = 0, gap = 0, failed = 0;

	if (tasks < 1)
		tasks = 1;
	if (tasks > MAX_TASKS)
		tasks = MAX_TASKS;
	load->loops_per_us = opt->calibration;
	load->seed = opt->seed;
	if (kind->fn == compile)
		generate_source(load);
	block_signals();
	/* A process group of its own, so that grandchildren end too; not if a shell leads it. */
	if (getpgrp() != getpid() && setpgid(0, 0))
		die("cannot lead a process group");
	/* This signal ends the children, so restore it if nohup ignored it. */
	signal(SIGHUP, SIG_DFL);
	sleep_until(next_step(now_ns(), 100 * NSEC_PER_MSEC));
	for (unsigned int i = 0; i < tasks; i++)
		start_task(load, kind, i, getpid());
	start = now_ns();
	tell_ready(opt->ready_fd);
	if (!opt->live || tell_running(load, tasks))
		stop_signal_until(start + (uint64_t)(opt->seconds * 1e9));
	end = now_ns();
	for (unsigned int i = 0; i < tasks; i++) {
		work += atomic_load_explicit(&load->count[i].work, memory_order_relaxed);
		failed += atomic_load_explicit(&load->count[i].failed, memory_order_relaxed);
		if (load->count[i].gap_ns > gap)
			gap = load->count[i].gap_ns;
	}
	atomic_store(&load->stop, true);
	/* A task blocked in a read never checks `stop`, so signal the group and ignore the signal here. */
	signal(SIGHUP, SIG_IGN);
	kill(0, SIGHUP);
	while (waitpid(-1, NULL, 0) > 0)
		;
	if (load->source[0])
		unlink(load->source);
	if (failed) {
		fprintf(stderr, "workload: %lu of the %s load's steps failed%s\n",
			(unsigned long)failed, kind->name,
			kind->fn == compile ? " (is gcc installed?)" : "");
		return 1;
	}
	printf("{\"kind\":\"%s\",\"per_cpu\":%g,\"cpus\":%lu,\"tasks\":%u,\"seconds\":%.3f,"
	       "\"work\":%lu,\"work_per_s\":%.3f,\"unit\":\"%s\",\"longest_gap_ms\":",
	       kind->name, opt->per_cpu, opt->cpus, tasks, (double)(end - start) / 1e9,
	       (unsigned long)work, (double)work * 1e9 / (double)(end - start), kind->unit);
	/* Only a load that always wants the CPU can tell waiting from sleeping. */
	if (gap)
		printf("%.3f}\n", (double)gap / 1e6);
	else
		printf("null}\n");
	return 0;
}
