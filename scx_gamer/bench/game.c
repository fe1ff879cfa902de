/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The game-like load: vsync -> input -> main -> workers (fan-out and barrier, or a chain) -> render
 * -> driver -> compositor (another process) -> present, with audio, network and loader bursts
 * beside it. Every hand-over records how long the woken thread waited for a CPU.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

#define AUDIO_PERIOD_NS 5333333ULL /* 256 samples at 48 kHz */
#define NETWORK_PERIOD_NS (16 * NSEC_PER_MSEC)
#define LOADER_EVERY 30 /* frames between two bursts of the loader */
#define UNLOCKED_MAX_FPS 5000
#define UNLOCKED_GOAL_NS 16666667ULL /* an unlocked frame later than this counts as missed */
#define DRAIN_NS (500 * NSEC_PER_MSEC)
#define SIGNAL_LIMIT_S 60 /* --on-signal: from the end of the warm-up */
#define LOG_PERIOD_NS (100 * NSEC_PER_MSEC)
#define MAX_WORKERS 256

/* Work of each stage in us, at the shape's own period. */
struct shape {
	const char *name;
	uint64_t period_ns;   /* 0: unlocked */
	unsigned int workers; /* 0: two per CPU */
	bool chain;	      /* workers hand over to each other instead of running side by side */
	unsigned int main_us, worker_us, join_us, render_us, driver_us, compositor_us;
};

static const struct shape shapes[] = {
    {"few", 16666667, 2, false, 2000, 1500, 500, 1200, 600, 400},
    {"chain30", 16666667, 30, true, 1000, 130, 300, 800, 500, 400},
    {"workers", 16666667, 0, false, 1500, 1500, 500, 1000, 500, 400},
    {"cpubound", 16666667, 1, false, 10000, 300, 500, 600, 300, 300},
    {"unlocked", 0, 2, false, 800, 800, 200, 1000, 400, 300},
    {"fps240", 4166667, 2, false, 500, 400, 100, 300, 150, 100},
    /* No game: wake-ups of a desktop at rest, with next to no work behind them. */
    {"desktop", 16666667, 1, false, 50, 20, 10, 20, 10, 50},
};

/* Links of a frame, each a row of the wake-to-run table: a thread and its waker. */
enum hop {
	HOP_VSYNC,
	HOP_INPUT,
	HOP_WORKER,
	HOP_JOIN,
	HOP_RENDER,
	HOP_DRIVER,
	HOP_COMPOSITOR,
	HOP_AUDIO,
	HOP_NETWORK,
	HOP_LOADER,
	NR_HOPS,
};

static const char *const hop_names[NR_HOPS] = {
    "vsync",  "input",	    "worker", "join",	 "render",
    "driver", "compositor", "audio",  "network", "loader",
};

struct frame {
	uint64_t due_ns;
	uint64_t input_ns; /* oldest input event this frame shows, 0 if none */
	_Atomic uint64_t present_ns;
};

/* Shared between the game and the compositor. */
struct game {
	struct shape shape;
	double loops_per_us;
	uint64_t seed, input_period_ns;
	uint64_t t0_ns;			     /* first vsync */
	_Atomic uint64_t measure_ns, end_ns; /* measured interval */
	uint64_t cpu_begin_ns, cpu_ns; /* CPU time of both processes at its begin, and in it */
	_Atomic bool stop;
	unsigned int nr_workers;
	struct event work[MAX_WORKERS], joined, loader, render, driver, driver_done, compositor;
	_Atomic uint32_t pending; /* workers that have not finished this frame */
	_Atomic uint64_t oldest_input_ns;
	_Atomic uint32_t audio_periods, audio_underruns, loader_bursts;
	struct samples hop[NR_HOPS], worker_wait[MAX_WORKERS];
	uint32_t max_frames;
	_Atomic uint32_t nr_frames;
	struct frame *frames;
	uint64_t *scratch, *live_scratch;
	size_t scratch_len;
};

struct worker {
	struct game *game;
	unsigned int index;
};

/* Spin for `us` plus or minus five percent, derived from the seed, the frame and the stage. */
static void work(const struct game *g, unsigned int us, uint64_t frame, uint64_t stage)
{
	double jitter =
	    0.95 + 0.1 * (double)(mix(g->seed, frame, stage) >> 11) / 9007199254740992.0;

	burn((uint64_t)((double)us * jitter * g->loops_per_us));
}

static void hop_add(struct game *g, enum hop hop, uint64_t due_ns)
{
	uint64_t now = now_ns();

	if (due_ns >= g->measure_ns && due_ns < g->end_ns)
		sample_add(&g->hop[hop], now > due_ns ? now - due_ns : 0);
}

static bool stopping(const struct game *g)
{
	return atomic_load_explicit(&g->stop, memory_order_relaxed);
}

/* Return where to record samples: nowhere during the warm-up. */
static struct samples *if_measured(const struct game *g, struct samples *s)
{
	return now_ns() >= g->measure_ns ? s : NULL;
}

static void fan_out(struct game *g, uint32_t seq)
{
	atomic_store_explicit(&g->pending, g->nr_workers, memory_order_relaxed);
	if (g->shape.chain) {
		event_post(&g->work[0], seq);
		return;
	}
	for (unsigned int i = 0; i < g->nr_workers; i++)
		event_post(&g->work[i], seq);
}

static void *worker_fn(void *arg)
{
	const struct worker *w = arg;
	struct game *g = w->game;
	struct event *mine = &g->work[w->index];
	struct samples *waits = &g->worker_wait[w->index];

	for (uint32_t seq = 1; event_wait(mine, seq, &g->stop, if_measured(g, waits)); seq++) {
		work(g, g->shape.worker_us, seq, 100 + w->index);
		if (g->shape.chain && w->index + 1 < g->nr_workers)
			event_post(&g->work[w->index + 1], seq);
		if (atomic_fetch_sub_explicit(&g->pending, 1, memory_order_acq_rel) == 1)
			event_post(&g->joined, seq);
	}
	return NULL;
}

/* Return the next vsync in the future: a frame that takes too long misses whole periods. */
static uint64_t next_due(const struct game *g, uint64_t due)
{
	uint64_t now = now_ns(), period = g->shape.period_ns;

	due += period;
	if (due < now)
		due += (now - due + period - 1) / period * period;
	return due;
}

static void *main_fn(void *arg)
{
	struct game *g = arg;
	uint64_t due = g->t0_ns;

	for (uint32_t seq = 1; seq <= g->max_frames && !stopping(g); seq++) {
		struct frame *f = &g->frames[seq - 1];

		if (g->shape.period_ns) {
			if (sleep_until(due))
				hop_add(g, HOP_VSYNC, due);
		} else {
			due = now_ns();
		}
		if (due >= g->end_ns)
			break;
		f->due_ns = due;
		f->input_ns =
		    atomic_exchange_explicit(&g->oldest_input_ns, 0, memory_order_acq_rel);
		atomic_store_explicit(&g->nr_frames, seq, memory_order_release);
		work(g, g->shape.main_us, seq, 1);
		fan_out(g, seq);
		if (!event_wait(&g->joined, seq, &g->stop, if_measured(g, &g->hop[HOP_JOIN])))
			break;
		work(g, g->shape.join_us, seq, 2);
		if (seq % LOADER_EVERY == 0)
			event_post(&g->loader, seq / LOADER_EVERY);
		/* As with double buffering, one earlier frame may still be in flight. */
		if (!event_wait(&g->driver_done, seq - 1, &g->stop, NULL))
			break;
		event_post(&g->render, seq);
		if (g->shape.period_ns)
			due = next_due(g, due);
	}
	return NULL;
}

static void *render_fn(void *arg)
{
	struct game *g = arg;
	struct samples *s = &g->hop[HOP_RENDER];

	for (uint32_t seq = 1; event_wait(&g->render, seq, &g->stop, if_measured(g, s)); seq++) {
		work(g, g->shape.render_us, seq, 3);
		event_post(&g->driver, seq);
	}
	return NULL;
}

static void *driver_fn(void *arg)
{
	struct game *g = arg;
	struct samples *s = &g->hop[HOP_DRIVER];

	for (uint32_t seq = 1; event_wait(&g->driver, seq, &g->stop, if_measured(g, s)); seq++) {
		work(g, g->shape.driver_us, seq, 4);
		event_post(&g->driver_done, seq);
		event_post(&g->compositor, seq);
	}
	return NULL;
}

static _Noreturn void compositor(struct game *g, pid_t parent)
{
	struct samples *s = &g->hop[HOP_COMPOSITOR];

	prctl(PR_SET_NAME, "wl_compositor");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	for (uint32_t seq = 1; event_wait(&g->compositor, seq, &g->stop, if_measured(g, s));
	     seq++) {
		work(g, g->shape.compositor_us, seq, 5);
		atomic_store_explicit(&g->frames[seq - 1].present_ns, now_ns(),
				      memory_order_release);
	}
	_exit(0);
}

static void *input_fn(void *arg)
{
	struct game *g = arg;
	uint64_t due = g->t0_ns;

	for (uint64_t n = 0; !stopping(g) && due < g->end_ns; n++) {
		uint64_t none = 0;

		/* Each event keeps its own time: a backlog is handled one by one. */
		sleep_until(due);
		hop_add(g, HOP_INPUT, due);
		atomic_compare_exchange_strong_explicit(&g->oldest_input_ns, &none, due,
							memory_order_acq_rel, memory_order_relaxed);
		work(g, 20, n, 6);
		due += g->input_period_ns;
	}
	return NULL;
}

static void *audio_fn(void *arg)
{
	struct game *g = arg;
	uint64_t due = g->t0_ns;

	for (uint64_t n = 0; !stopping(g) && due < g->end_ns; n++) {
		bool counted = due >= g->measure_ns;
		uint64_t late;

		if (sleep_until(due))
			hop_add(g, HOP_AUDIO, due);
		work(g, 300, n, 7);
		late = now_ns() - due;
		if (counted) {
			uint32_t lost = (uint32_t)(late / AUDIO_PERIOD_NS);

			atomic_fetch_add_explicit(&g->audio_periods, 1 + lost,
						  memory_order_relaxed);
			atomic_fetch_add_explicit(&g->audio_underruns, lost, memory_order_relaxed);
		}
		due += (1 + late / AUDIO_PERIOD_NS) * AUDIO_PERIOD_NS;
	}
	return NULL;
}

static void *network_fn(void *arg)
{
	struct game *g = arg;
	uint64_t due = g->t0_ns;

	for (uint64_t n = 0; !stopping(g) && due < g->end_ns; n++) {
		if (sleep_until(due))
			hop_add(g, HOP_NETWORK, due);
		work(g, 80, n, 8);
		due += NETWORK_PERIOD_NS / 2 + mix(g->seed, n, 9) % NETWORK_PERIOD_NS;
	}
	return NULL;
}

static void *loader_fn(void *arg)
{
	struct game *g = arg;
	struct samples *s = &g->hop[HOP_LOADER];

	for (uint32_t seq = 1; event_wait(&g->loader, seq, &g->stop, if_measured(g, s)); seq++) {
		work(g, 12000, seq, 10);
		atomic_fetch_add_explicit(&g->loader_bursts, 1, memory_order_relaxed);
	}
	return NULL;
}

struct frame_log {
	struct game *game;
	FILE *file;
};

/* Write the frames that were presented, as MangoHud's logs have them: one row a frame, held open. */
static void *log_fn(void *arg)
{
	struct frame_log *log = arg;
	struct game *g = log->game;
	uint64_t prev = 0, present;
	uint32_t seq = 0;

	fprintf(log->file, "os\nLinux\nfps,frametime,elapsed\n");
	while (!stopping(g)) {
		sleep_until(now_ns() + LOG_PERIOD_NS);
		for (; seq < g->max_frames; seq++, prev = present) {
			present =
			    atomic_load_explicit(&g->frames[seq].present_ns, memory_order_acquire);
			if (!present)
				break;
			if (prev)
				fprintf(log->file, "%.3f,%.6f,%lu\n",
					1e9 / (double)(present - prev),
					(double)(present - prev) / 1e6,
					(unsigned long)(present - g->t0_ns));
		}
		fflush(log->file);
	}
	return NULL;
}

/* ---- report ---- */

static struct percentiles collect(struct game *g, struct samples *const *parts, size_t nr)
{
	size_t n = 0;

	for (size_t i = 0; i < nr; i++) {
		size_t have = atomic_load_explicit(&parts[i]->n, memory_order_acquire);

		memcpy(g->scratch + n, parts[i]->value, have * sizeof(*g->scratch));
		n += have;
	}
	return percentiles_of(g->scratch, n);
}

static struct percentiles collect_hop(struct game *g, enum hop hop)
{
	struct samples *parts[MAX_WORKERS] = {&g->hop[hop]};

	if (hop != HOP_WORKER)
		return collect(g, parts, 1);
	for (unsigned int i = 0; i < g->nr_workers; i++)
		parts[i] = &g->worker_wait[i];
	return collect(g, parts, g->nr_workers);
}

static uint64_t lost_samples(struct game *g)
{
	uint64_t lost = 0;

	for (int i = 0; i < NR_HOPS; i++)
		lost += g->hop[i].lost;
	for (unsigned int i = 0; i < g->nr_workers; i++)
		lost += g->worker_wait[i].lost;
	return lost;
}

struct frame_stats {
	uint32_t due, delivered, on_time;
	struct percentiles latency, input_to_present;
	double low1_fps, mean_fps;
};

/* Frames with begin <= due < end. Gathers in `scratch`, which holds one value for each frame. */
static struct frame_stats frame_stats(const struct game *g, uint64_t begin, uint64_t end,
				      uint64_t *scratch)
{
	uint64_t period = g->shape.period_ns, goal = period ? period : UNLOCKED_GOAL_NS;
	uint32_t nr = atomic_load_explicit(&g->nr_frames, memory_order_acquire);
	struct frame_stats st = {0};
	uint64_t prev = 0, first = 0, sum = 0;
	size_t n = 0, worst;

	for (uint32_t i = 0; i < nr; i++) {
		const struct frame *f = &g->frames[i];
		uint64_t present = atomic_load_explicit(&f->present_ns, memory_order_acquire);

		if (f->due_ns < begin || f->due_ns >= end)
			continue;
		st.due++;
		if (!present)
			continue;
		scratch[st.delivered++] = present - f->due_ns;
		st.on_time += present - f->due_ns <= goal;
	}
	st.latency = percentiles_of(scratch, st.delivered);
	if (period) { /* vsyncs without a frame are due as well */
		uint64_t from = begin > g->t0_ns ? (begin - g->t0_ns + period - 1) / period : 0;

		st.due = (uint32_t)((end - g->t0_ns + period - 1) / period - from);
	}
	for (uint32_t i = 0; i < nr; i++) {
		const struct frame *f = &g->frames[i];
		uint64_t present = atomic_load_explicit(&f->present_ns, memory_order_acquire);

		if (f->due_ns >= begin && f->due_ns < end && f->input_ns && present)
			scratch[n++] = present - f->input_ns;
	}
	st.input_to_present = percentiles_of(scratch, n);
	n = 0;
	for (uint32_t i = 0; i < nr; i++) {
		const struct frame *f = &g->frames[i];
		uint64_t present = atomic_load_explicit(&f->present_ns, memory_order_acquire);

		if (f->due_ns < begin || f->due_ns >= end || !present)
			continue;
		if (prev)
			scratch[n++] = present - prev;
		else
			first = present;
		prev = present;
	}
	if (!n)
		return st;
	/* 1 % low: the mean rate over the slowest hundredth of the frames. */
	sort_u64(scratch, n);
	worst = (n + 99) / 100;
	for (size_t i = n - worst; i < n; i++)
		sum += scratch[i];
	st.low1_fps = (double)worst * 1e9 / (double)sum;
	st.mean_fps = (double)n * 1e9 / (double)(prev - first);
	return st;
}

/* Print the second that ended a quarter of a second ago, whose frames have been presented. */
static void print_live(struct game *g, uint64_t end)
{
	struct frame_stats st = frame_stats(g, end - NSEC_PER_SEC, end, g->live_scratch);

	printf("{\"t_s\":%.1f,\"fps\":%.1f,\"due\":%u,\"on_time\":%u,\"frame_p50_us\":%.1f,"
	       "\"frame_p99_us\":%.1f,\"input_to_present_p99_us\":%.1f}\n",
	       (double)(end - g->t0_ns) / 1e9, st.mean_fps, st.due, st.on_time,
	       (double)st.latency.p50 / 1e3, (double)st.latency.p99 / 1e3,
	       (double)st.input_to_present.p99 / 1e3);
	fflush(stdout);
}

static int report(struct game *g, const struct options *opt, bool stopped)
{
	struct frame_stats st = frame_stats(g, g->measure_ns, g->end_ns, g->scratch);
	struct percentiles input = collect_hop(g, HOP_INPUT);
	uint64_t measured_ns = g->end_ns - g->measure_ns;

	if (g->nr_frames == g->max_frames) {
		fprintf(stderr, "workload: more than %d fps: the calibration does not fit\n",
			UNLOCKED_MAX_FPS);
		return 1;
	}
	if (lost_samples(g)) {
		fprintf(stderr, "workload: %lu samples did not fit: the figures would be wrong\n",
			(unsigned long)lost_samples(g));
		return 1;
	}
	printf("{\"kind\":\"game\",\"shape\":\"%s\",\"seconds\":%.3f,\"seed\":%lu,\"cpus\":%lu,"
	       "\"period_us\":%.1f,\"stopped_early\":%s,",
	       g->shape.name, (double)measured_ns / 1e9, opt->seed, opt->cpus,
	       (double)g->shape.period_ns / 1e3, stopped ? "true" : "false");
	printf("\"frames_due\":%u,\"frames_delivered\":%u,\"frames_missed\":%u,"
	       "\"on_time_ratio\":%.6f,",
	       st.due, st.delivered, st.due - st.on_time,
	       st.due ? (double)st.on_time / st.due : 0.0);
	printf("\"mean_fps\":%.3f,\"low1_fps\":%.3f,\"cpus_busy\":%.4f,", st.mean_fps, st.low1_fps,
	       measured_ns ? (double)g->cpu_ns / (double)measured_ns : 0.0);
	print_percentiles("frame_latency_us", &st.latency, ",");
	print_percentiles("input_latency_us", &input, ",");
	print_percentiles("input_to_present_us", &st.input_to_present, ",");
	printf("\"audio_periods\":%u,\"audio_underruns\":%u,\"loader_bursts\":%u,",
	       g->audio_periods, g->audio_underruns, g->loader_bursts);
	printf("\"wake_to_run_us\":{");
	for (int i = 0; i < NR_HOPS; i++) {
		struct percentiles p = collect_hop(g, (enum hop)i);

		print_percentiles(hop_names[i], &p, i + 1 < NR_HOPS ? "," : "}}\n");
	}
	return 0;
}

/* ---- set-up ---- */

static const struct shape *find_shape(const char *name)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (name && !strcmp(shapes[i].name, name))
			return &shapes[i];
	fprintf(stderr, "workload: --shape must be one of");
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		fprintf(stderr, " %s", shapes[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

static struct game *prepare(const struct options *opt)
{
	const struct shape *shape = find_shape(opt->shape);
	struct game *g = shared_alloc(sizeof(*g));
	double span =
	    opt->seconds + (double)opt->warmup_ms / 1e3 + 1 + (opt->on_signal ? SIGNAL_LIMIT_S : 0);
	uint32_t timers =
	    (uint32_t)(span * ((double)opt->hz + 200)); /* input's, audio's, network's */
	uint32_t fps;

	g->shape = *shape;
	g->seed = opt->seed;
	g->input_period_ns = NSEC_PER_SEC / opt->hz;
	g->loops_per_us = opt->calibration;
	if (opt->period_us) {
		uint64_t own = shape->period_ns ? shape->period_ns : UNLOCKED_GOAL_NS;

		g->loops_per_us *= (double)(opt->period_us * NSEC_PER_USEC) / (double)own;
		if (shape->period_ns)
			g->shape.period_ns = opt->period_us * NSEC_PER_USEC;
	}
	g->nr_workers = shape->workers ? shape->workers : 2 * (unsigned int)opt->cpus;
	if (g->nr_workers > MAX_WORKERS)
		g->nr_workers = MAX_WORKERS;
	fps = g->shape.period_ns ? (uint32_t)(NSEC_PER_SEC / g->shape.period_ns) + 2
				 : UNLOCKED_MAX_FPS;
	g->max_frames = (uint32_t)(span * fps);
	g->frames = shared_alloc(g->max_frames * sizeof(*g->frames));
	for (int i = 0; i < NR_HOPS; i++)
		samples_init(&g->hop[i], timers + g->max_frames);
	for (unsigned int i = 0; i < g->nr_workers; i++)
		samples_init(&g->worker_wait[i], g->max_frames);
	g->scratch_len = (size_t)g->max_frames * g->nr_workers + timers + g->max_frames;
	g->scratch = shared_alloc(g->scratch_len * sizeof(*g->scratch));
	g->live_scratch = shared_alloc(((size_t)g->max_frames + 1) * sizeof(*g->live_scratch));
	return g;
}

struct role {
	const char *name;
	void *(*fn)(void *arg);
};

static const struct role roles[] = {
    {"game_main", main_fn},	{"game_render", render_fn}, {"game_driver", driver_fn},
    {"game_input", input_fn},	{"game_audio", audio_fn},   {"game_net", network_fn},
    {"game_loader", loader_fn},
};

#define NR_ROLES (sizeof(roles) / sizeof(roles[0]))

static void start_thread(pthread_t *t, const char *name, void *(*fn)(void *), void *arg)
{
	if (pthread_create(t, NULL, fn, arg))
		die("cannot start a thread");
	pthread_setname_np(*t, name);
}

static void wake_everybody(struct game *g)
{
	struct event *const events[] = {&g->render,	&g->driver, &g->driver_done,
					&g->compositor, &g->joined, &g->loader};

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		event_wake_all(events[i]);
	for (unsigned int i = 0; i < g->nr_workers; i++)
		event_wake_all(&g->work[i]);
}

/* CPU time of the game and of its compositor so far. */
static uint64_t cpu_time_ns(pid_t compositor_pid)
{
	clockid_t clock;

	if (clock_getcpuclockid(compositor_pid, &clock))
		die("cannot tell the compositor's CPU clock");
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID) + clock_ns(clock);
}

/* Measure from the first vsync at or after a time. */
static void measure_from(struct game *g, const struct options *opt, uint64_t begin)
{
	uint64_t period = g->shape.period_ns;

	if (period)
		begin = g->t0_ns + (begin - g->t0_ns + period - 1) / period * period;
	g->end_ns = begin + (uint64_t)(opt->seconds * 1e9);
	g->measure_ns = begin;
}

/* Wait for the end, printing a line per second if requested. Return true if a signal ended it. */
static bool sit_out(struct game *g, const struct options *opt, pid_t compositor_pid)
{
	uint64_t tick, warm_ns = g->t0_ns + opt->warmup_ms * NSEC_PER_MSEC;

	if (opt->on_signal) {
		int number = any_signal_until(warm_ns + SIGNAL_LIMIT_S * NSEC_PER_SEC);
		uint64_t now = now_ns();

		if (!number) {
			fprintf(stderr, "workload: no SIGUSR1 within %d s\n", SIGNAL_LIMIT_S);
			exit(1);
		}
		if (number != SIGUSR1)
			return true;
		measure_from(g, opt, now > warm_ns ? now : warm_ns);
	}
	if (stop_signal_until(g->measure_ns))
		return true;
	g->cpu_begin_ns = cpu_time_ns(compositor_pid);
	tick = g->measure_ns + NSEC_PER_SEC;
	while (opt->live && tick + NSEC_PER_SEC / 4 < g->end_ns) {
		if (stop_signal_until(tick + NSEC_PER_SEC / 4))
			return true;
		print_live(g, tick);
		tick += NSEC_PER_SEC;
	}
	return stop_signal_until(g->end_ns);
}

int cmd_game(const struct options *opt)
{
	static struct worker workers[MAX_WORKERS];
	static pthread_t worker_threads[MAX_WORKERS], threads[NR_ROLES], log_thread;
	struct game *g = prepare(opt);
	struct frame_log log = {.game = g};
	pid_t self = getpid(), child;
	uint64_t cut = UINT64_MAX;
	bool stopped;
	int status;

	block_signals();
	/* Timers stand for interrupts, so their slack must not add to the wake-up times. */
	if (prctl(PR_SET_TIMERSLACK, 1))
		die("cannot set the timer slack");
	/* The seed selects the phase within a tick, because results depend on it. */
	g->t0_ns = next_step(now_ns() + 100 * NSEC_PER_MSEC, 100 * NSEC_PER_MSEC) +
		   mix(g->seed, 0, 0) % NSEC_PER_MSEC;
	g->measure_ns = UINT64_MAX;
	g->end_ns = UINT64_MAX;
	if (!opt->on_signal)
		measure_from(g, opt, g->t0_ns + opt->warmup_ms * NSEC_PER_MSEC);
	fflush(stdout);
	child = fork();
	if (child < 0)
		die("cannot fork the compositor");
	if (!child)
		compositor(g, self);
	for (unsigned int i = 0; i < g->nr_workers; i++) {
		workers[i] = (struct worker){.game = g, .index = i};
		start_thread(&worker_threads[i], "game_worker", worker_fn, &workers[i]);
	}
	for (size_t i = 0; i < NR_ROLES; i++)
		start_thread(&threads[i], roles[i].name, roles[i].fn, g);
	if (opt->log) {
		log.file = fopen(opt->log, "we");
		if (!log.file)
			die("cannot write the log");
		start_thread(&log_thread, "game_log", log_fn, &log);
	}
	tell_ready(opt->ready_fd);
	if (opt->live) {
		printf("{\"ready\":true}\n");
		fflush(stdout);
	}
	stopped = sit_out(g, opt, child);
	if (g->cpu_begin_ns)
		g->cpu_ns = cpu_time_ns(child) - g->cpu_begin_ns;
	/* Frames in flight at the end may still be presented: they count as late, not as lost. */
	stopped = stopped || stop_signal_until(g->end_ns + DRAIN_NS);
	if (stopped)
		cut = now_ns();
	atomic_store(&g->stop, true);
	wake_everybody(g);
	for (size_t i = 0; i < NR_ROLES; i++)
		pthread_join(threads[i], NULL);
	for (unsigned int i = 0; i < g->nr_workers; i++)
		pthread_join(worker_threads[i], NULL);
	if (log.file) {
		pthread_join(log_thread, NULL);
		if (fclose(log.file))
			die("cannot write the log");
	}
	if (waitpid(child, &status, 0) != child || status)
		die("the compositor process failed");
	if (cut < g->measure_ns)
		cut = g->measure_ns;
	if (cut < g->end_ns)
		g->end_ns = cut;
	return report(g, opt, stopped);
}
