/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Discrete events around policy.h: tasks wake, wait, run and sleep on up to 256 CPUs in several caches, queued and
 * dispatched as sched.bpf.c does it. Prints one line; exits 1 when a task waited longer than the bound.
 *
 * simulate SEED CPUS CACHES TASKS MILLISECONDS
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "policy.h"

#define TICK (4 * SCXG_NS_PER_MS)
#define MAX_CPUS 256
#define MAX_TASKS 10000

struct task {
	struct scxg_facts f;
	u64 key, queued, left, burst_ns, sleep_ns, slice, used, asleep;
	bool kept; /* its key may be kept: it was queued, not handed an idle CPU */
	int cpu;   /* ran there last */
	bool bound;
};

struct cpu {
	struct task *running;
	u64 since, slice_end, last_kick;
};

struct heap {
	struct task **at;
	int n;
};

struct event {
	u64 time;
	u32 stamp; /* of the run it ends: an older one is void */
	int cpu;   /* -1: the task wakes */
	struct task *task;
};

static struct task tasks[MAX_TASKS];
static struct cpu cpus[MAX_CPUS];
static struct heap shared[MAX_CPUS], own[MAX_CPUS];
static u32 stamps[MAX_CPUS];
static struct event *events;
static int nr_cpus, nr_llcs, nr_tasks, nr_events;
static struct scxg_tunables tun;
static u64 now, worst_wait, worst_bound, decisions, seed, broken;

static u64 rnd(u64 limit)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return limit ? seed % limit : 0;
}

static void push_event(struct event e)
{
	int i = nr_events++;

	while (i && events[(i - 1) / 2].time > e.time) {
		events[i] = events[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	events[i] = e;
}

static struct event pop_event(void)
{
	struct event top = events[0], last = events[--nr_events];
	int i = 0, c;

	while ((c = 2 * i + 1) < nr_events) {
		if (c + 1 < nr_events && events[c + 1].time < events[c].time)
			c++;
		if (events[c].time >= last.time)
			break;
		events[i] = events[c];
		i = c;
	}
	events[i] = last;
	return top;
}

static void push(struct heap *h, struct task *t)
{
	int i = h->n++;

	while (i && h->at[(i - 1) / 2]->key > t->key) {
		h->at[i] = h->at[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	h->at[i] = t;
}

static struct task *pop(struct heap *h)
{
	struct task *top = h->at[0], *last = h->at[--h->n];
	int i = 0, c;

	while ((c = 2 * i + 1) < h->n) {
		if (c + 1 < h->n && h->at[c + 1]->key < h->at[c]->key)
			c++;
		if (h->at[c]->key >= last->key)
			break;
		h->at[i] = h->at[c];
		i = c;
	}
	h->at[i] = last;
	return top;
}

static u64 head(const struct heap *h)
{
	return h->n ? h->at[0]->key : ~0ULL;
}

static int llc(int cpu)
{
	return cpu * nr_llcs / nr_cpus;
}

static void check_wait(const struct task *t)
{
	/* policy.h: one CPU serves a task bound to it; a slice ends at the tick after it. */
	u64 c = t->bound ? 1 : nr_cpus, wait = now - t->queued;
	u64 bound = SCXG_DEADLINE_MAX_NS + SCXG_CREDIT_MAX_NS +
		    (nr_llcs > 1 ? SCXG_STEAL_LEAD_NS : 0) +
		    ((nr_tasks + c - 1) / c + 1) * (SCXG_SLICE_MAX_NS + TICK);

	if (wait > bound)
		broken++;
	if (!worst_bound || wait * worst_bound > worst_wait * bound) {
		worst_wait = wait;
		worst_bound = bound;
	}
}

static void run(int cpu, struct task *t, u64 slice)
{
	check_wait(t);
	cpus[cpu].running = t;
	cpus[cpu].since = now;
	cpus[cpu].slice_end = now + slice;
	t->cpu = cpu;
	push_event(
	    (struct event){.time = now + t->left, .stamp = ++stamps[cpu], .cpu = cpu, .task = t});
}

static void queue(struct task *t, bool wakes)
{
	u64 key = scxg_key(&t->f, &tun, now);
	u64 slice = scxg_slice(t->f.class_id, t->f.game_active, &tun);

	if (!wakes && t->kept && t->used + SCXG_SLICE_REST_NS < t->slice) {
		key = scxg_min(key, t->key);
		slice = scxg_min(slice, t->slice - t->used);
	}
	t->kept = true;
	t->used = 0;
	t->queued = now;
	t->key = key;
	t->slice = slice;
	push(t->bound ? &own[t->cpu] : &shared[llc(t->cpu)], t);
}

static struct task *pick(int cpu)
{
	struct heap *mine = &own[cpu], *near = &shared[llc(cpu)], *far = NULL;

	decisions++;
	for (int i = 0; i < nr_llcs; i++)
		if (&shared[i] != near && shared[i].n && (!far || head(&shared[i]) < head(far)))
			far = &shared[i];
	if (far && scxg_overdue(head(far), scxg_min(head(mine), head(near))))
		return pop(far);
	if (mine->n && head(mine) <= head(near))
		return pop(mine);
	return near->n ? pop(near) : mine->n ? pop(mine) : NULL;
}

/* The task that runs has no slice left, or is preempted: asked for another first, queued again after. */
static void reschedule(int cpu)
{
	struct cpu *c = &cpus[cpu];
	struct task *prev = c->running, *next = pick(cpu);
	u64 ran = now - c->since;

	if (!next) {
		c->slice_end = now + SCXG_SLICE_MAX_NS;
		return;
	}
	prev->left -= scxg_min(ran, prev->left);
	prev->f.burst += ran;
	prev->f.debt = scxg_debt_ran(prev->f.debt, ran);
	prev->used += ran;
	queue(prev, false);
	run(cpu, next, next->slice);
}

static void preempt(const struct task *t)
{
	u32 best = 0, score;
	int victim = -1;

	for (int i = 0; i < (t->bound ? 1 : 8); i++) {
		int cpu = (t->cpu + i) % nr_cpus;
		struct cpu *c = &cpus[cpu];
		struct scxg_running r;

		if (now - c->last_kick < tun.value[SCXG_TUN_PREEMPT_MIN_US] * SCXG_NS_PER_US)
			continue;
		r = (struct scxg_running){
		    .burst = c->running->f.burst + now - c->since,
		    .debt = scxg_debt_ran(c->running->f.debt, now - c->since),
		    .class_id = c->running->f.class_id,
		    .is_short = scxg_short(&c->running->f),
		};
		score = scxg_gives_way(&t->f, &r);
		if (score > best) {
			best = score;
			victim = cpu;
		}
	}
	if (victim < 0)
		return;
	cpus[victim].last_kick = now;
	reschedule(victim);
}

static void wake(struct task *t)
{
	t->left = 1 + t->burst_ns / 2 + rnd(t->burst_ns);
	t->queued = now;
	t->f.debt = scxg_debt_slept(t->f.debt, now - t->asleep);
	for (int i = 0; i < (t->bound ? 1 : nr_cpus); i++) {
		int cpu = (t->cpu + i) % nr_cpus;

		if (!cpus[cpu].running) {
			t->kept = false;
			run(cpu, t, SCXG_SLICE_MAX_NS);
			return;
		}
	}
	queue(t, true);
	preempt(t);
}

static void sleeps(int cpu)
{
	struct task *t = cpus[cpu].running, *next;

	t->f.burst += now - cpus[cpu].since;
	t->f.burst_avg = scxg_burst_avg(t->f.burst_avg, t->f.burst, t->f.maturity);
	t->f.debt = scxg_debt_ran(t->f.debt, now - cpus[cpu].since);
	t->asleep = now;
	t->f.burst = 0;
	t->f.maturity += t->f.maturity < 1000;
	push_event((struct event){
	    .time = now + 1 + t->sleep_ns / 2 + rnd(t->sleep_ns), .cpu = -1, .task = t});
	cpus[cpu].running = NULL;
	next = pick(cpu);
	if (next)
		run(cpu, next, next->slice);
}

static void tick(int cpu)
{
	struct cpu *c = &cpus[cpu];

	if (!c->running)
		return;
	if ((own[cpu].n || shared[llc(cpu)].n) &&
	    now - c->since >= scxg_slice(c->running->f.class_id, c->running->f.game_active, &tun))
		c->slice_end = now;
	if (now >= c->slice_end)
		reschedule(cpu);
}

static void make_task(struct task *t)
{
	static const u64 bursts[] = {20000, 200000, 3000000, 30000000, 1000000000000ULL};

	t->f.class_id = rnd(SCXG_NR_CLASSES);
	t->f.game_active = true;
	t->f.window_open = true; /* for ever: an 8 kHz mouse does that */
	t->f.debt = SCXG_DEBT_NEW_NS;
	t->burst_ns = bursts[rnd(5)];
	t->sleep_ns = bursts[rnd(4)];
	t->cpu = rnd(nr_cpus);
	t->bound = t->f.class_id == SCXG_CLASS_KTHREAD || rnd(8) == 0;
}

int main(int argc, char **argv)
{
	u64 end, next_tick = 0;

	if (argc != 6)
		return 2;
	seed = strtoull(argv[1], NULL, 10) * 0x9e3779b97f4a7c15ULL + 1;
	nr_cpus = atoi(argv[2]);
	nr_llcs = atoi(argv[3]);
	nr_tasks = atoi(argv[4]);
	end = strtoull(argv[5], NULL, 10) * SCXG_NS_PER_MS;
	if (nr_cpus < 1 || nr_cpus > MAX_CPUS || nr_llcs < 1 || nr_llcs > nr_cpus || nr_tasks < 1 ||
	    nr_tasks > MAX_TASKS)
		return 2;
	for (int i = 0; i < SCXG_NR_TUNABLES; i++)
		tun.value[i] = scxg_clamp_tunable(i, rnd(200000));
	for (int i = 0; i < nr_cpus; i++) {
		own[i].at = calloc(nr_tasks, sizeof(*own[i].at));
		shared[i].at = calloc(nr_tasks, sizeof(*shared[i].at));
	}
	events = calloc(4 * MAX_TASKS + (size_t)(end / 1000 + 1000000), sizeof(*events));
	for (int i = 0; i < nr_tasks; i++) {
		make_task(&tasks[i]);
		push_event((struct event){
		    .time = 1 + rnd(10 * SCXG_NS_PER_MS), .cpu = -1, .task = &tasks[i]});
	}
	while (nr_events && now < end) {
		struct event e;

		if (next_tick <= events[0].time) {
			now = next_tick;
			next_tick += TICK;
			for (int i = 0; i < nr_cpus; i++)
				tick(i);
			continue;
		}
		e = pop_event();
		now = e.time;
		if (e.cpu < 0)
			wake(e.task);
		else if (e.stamp == stamps[e.cpu])
			sleeps(e.cpu);
	}
	/* Who waits still has waited too. */
	for (int i = 0; i < nr_cpus; i++) {
		for (int j = 0; j < own[i].n; j++)
			check_wait(own[i].at[j]);
		for (int j = 0; j < shared[i].n; j++)
			check_wait(shared[i].at[j]);
	}
	printf("decisions %llu worst_ms %.1f bound_ms %.1f broken %llu\n",
	       (unsigned long long)decisions, worst_wait / 1e6, worst_bound / 1e6,
	       (unsigned long long)broken);
	return broken ? 1 : 0;
}
