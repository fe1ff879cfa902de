/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Code shared by the subcommands of the benchmark workload: clock, calibrated work, samples with
 * exact percentiles, futex events, and the command line. Nothing here allocates after set-up.
 */
#ifndef SCXG_WORKLOAD_H
#define SCXG_WORKLOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_USEC 1000ULL

/* Options of every subcommand; each reads the ones it names in its usage line. */
struct options {
	const char *shape;
	const char *kind;
	const char *name;
	const char *log; /* game: file of frame times, as MangoHud writes it */
	double seconds;
	double calibration; /* loops per us */
	double per_cpu;
	unsigned long seed;
	unsigned long hz;	 /* mouse, and input of the game */
	unsigned long period_us; /* game: overrides the shape's frame period, work scales with it */
	unsigned long warmup_ms;
	unsigned long cpus;
	int ready_fd;
	bool live;
	bool on_signal; /* game: measures from SIGUSR1 */
	bool busy;
};

int cmd_game(const struct options *opt);
int cmd_load(const struct options *opt);
int cmd_mouse(const struct options *opt);

/* ---- time and work ---- */

uint64_t clock_ns(clockid_t clock);
uint64_t now_ns(void);
/* Sleep until an absolute time. Return true if it was in the future, so that the caller slept. */
bool sleep_until(uint64_t deadline_ns);
/* Return the next multiple of `step`, so that every run has the same phase relative to ticks and other programs. */
uint64_t next_step(uint64_t ns, uint64_t step);
/* Spin for a number of loops. The calibration measures the time of a loop. */
void burn(uint64_t loops);
/* Return 64 well-mixed bits of a seed and a position: the same in every run, without state. */
uint64_t mix(uint64_t seed, uint64_t a, uint64_t b);

/* ---- samples ---- */

/* Preallocated in shared memory; one writer. Readers see the first `n`, complete. */
struct samples {
	uint64_t *value;
	uint32_t cap;
	_Atomic uint32_t n;
	_Atomic uint32_t
	    lost; /* did not fit; an error at the end, because percentiles would be wrong */
};

struct percentiles {
	uint32_t n;
	uint64_t p50, p99, p999, max;
};

void samples_init(struct samples *s, uint32_t cap);
void sample_add(struct samples *s, uint64_t value);
void sort_u64(uint64_t *v, size_t n);
/* Sort v. The p-th percentile is the smallest value with at least p of all at or below it. */
struct percentiles percentiles_of(uint64_t *v, size_t n);
void print_percentiles(const char *key, const struct percentiles *p, const char *after);

/* ---- shared memory and futex events ---- */

void *shared_alloc(size_t size);

/* A counter that grows, with the time of its last growth. Works across processes. */
struct event {
	_Atomic uint32_t seq;
	_Atomic uint64_t posted_ns;
};

void event_post(struct event *e, uint32_t seq);
/*
 * Wait until e->seq reaches at least `want` or *stop is set. Adds the wake-to-run time to s (which
 * may be NULL) if it slept. False when stopped.
 */
bool event_wait(struct event *e, uint32_t want, const _Atomic bool *stop, struct samples *s);
void event_wake_all(struct event *e);

/* ---- process ---- */

/* SIGINT and SIGTERM, which end a subcommand, and SIGUSR1. */
void block_signals(void);
/* Wait for SIGINT or SIGTERM until a time. Return true if one came. */
bool stop_signal_until(uint64_t deadline_ns);
/* Wait for these or SIGUSR1 until a time. Return the number of the signal, 0 if none came. */
int any_signal_until(uint64_t deadline_ns);
void tell_ready(int fd);
unsigned int online_cpus(void);
_Noreturn void die(const char *what);

#endif
