/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Discrete events around policy.h: tasks wake, wait, run and sleep on up to 256 CPUs in several caches, queued and
 * dispatched as sched.bpf.c does it. Prints one line; exits 1 when a task waited longer than the bound.
 *
 * simulate SEED CPUS CACHES TASKS MILLISECONDS [plain|smt|biglittle]
 * simulate sets FIRST COUNT: that many task sets on machines of up to 16 CPUs, both drawn from their number
 * simulate shares CPUS PRIO…: hogs with these static_prio on CPUs of one cache, without a game; prints each one's run time
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"

#define TICK (4 * SCXG_NS_PER_MS)
#define MAX_CPUS 256
#define MAX_TASKS 10000

struct task {
	struct scxg_facts f;
	u64 key, queued, left, burst_ns, sleep_ns, slice, used, asleep;
	bool kept; /* its key may be kept: it was queued, not inserted into an idle CPU */
	bool sync; /* woken by a task that is about to sleep */
	int cpu;   /* ran there last */
	bool bound;
	int first, span; /* CPUs that it may run on, from `first` around; bound: one of them */
	int rivals;	 /* tasks that may run on one of these, with itself */
	u32 weight;
	s64 *counted; /* where its weight is in a sum */
	u64 ran;
};

struct cpu {
	struct task *running;
	struct task *local; /* in its local DSQ, behind its waker */
	u64 since, slice_end, last_kick, last_remote_scan;
	u64 speed;    /* percent */
	bool shields; /* runs a thread of the game that computes: its sibling is kept free */
	s64 extra;    /* as extra_weight of sched/share.bpf.h, of tasks bound to it */
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
static s64 extra_weight[MAX_CPUS]; /* of tasks of a cache */
static u32 stamps[MAX_CPUS];
static struct event *events;
static int nr_cpus, nr_llcs, nr_tasks, nr_events;
static u32 restricted; /* percent of the tasks that may run on a few CPUs only */
static bool clocked;   /* light tasks are in step with clocks */
static bool weighed;   /* no game is active, and weights count */
static struct scxg_tunables tun;
static u64 now, seed;
static enum machine {
	PLAIN,
	SMT,
	BIGLITTLE
} machine;

/* What is reported. A look is a queue's head or a running task that a decision reads: what it costs us. */
static u64 worst_wait, worst_bound, broken, decisions, looks, steps, migrations, runs, wait_sum;

static u64 rnd(u64 limit)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return limit ? seed % limit : 0;
}

static void seed_with(u64 number)
{
	seed = number * 0x9e3779b97f4a7c15ULL + 1;
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
		steps++;
		h->at[i] = h->at[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	h->at[i] = t;
}

static bool is_allowed(const struct task *t, int cpu)
{
	return t->bound ? cpu == t->cpu : (cpu - t->first + nr_cpus) % nr_cpus < t->span;
}

/* The earliest task in a heap that may run on this CPU; -1 if there is none. */
static int first_for(const struct heap *h, int cpu)
{
	int found = -1;

	if (!h->n || is_allowed(h->at[0], cpu))
		return h->n - 1 < 0 ? -1 : 0;
	for (int i = 1; i < h->n; i++)
		if (is_allowed(h->at[i], cpu) && (found < 0 || h->at[i]->key < h->at[found]->key))
			found = i;
	return found;
}

static struct task *take(struct heap *h, int i)
{
	struct task *top = h->at[i], *last = h->at[--h->n];
	int c;

	if (i == h->n)
		return top;
	while (i && h->at[(i - 1) / 2]->key > last->key) {
		h->at[i] = h->at[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	while ((c = 2 * i + 1) < h->n) {
		if (c + 1 < h->n && h->at[c + 1]->key < h->at[c]->key)
			c++;
		if (h->at[c]->key >= last->key)
			break;
		steps++;
		h->at[i] = h->at[c];
		i = c;
	}
	h->at[i] = last;
	return top;
}

/* As head_key() of sched/queue.bpf.h. */
static u64 head_on(const struct heap *h, int cpu)
{
	int i = first_for(h, cpu);

	looks++;
	return i < 0 ? ~0ULL : h->at[i]->key;
}

/* The earliest task that this CPU may take, as the kernel moves it to a local DSQ; NULL if there is none. */
static struct task *pop(struct heap *h, int cpu)
{
	int i = first_for(h, cpu);

	return i < 0 ? NULL : take(h, i);
}

static int llc(int cpu)
{
	return cpu * nr_llcs / nr_cpus;
}

/* The other half of the core; the CPU itself where there is none, or nothing is kept free. */
static int sibling(int cpu)
{
	return machine == SMT && tun.value[SCXG_TUN_SMT_ISOLATE] && (cpu ^ 1) < nr_cpus ? cpu ^ 1
											: cpu;
}

/* As is_shielded() of sched/shield.bpf.h. */
static bool is_shielded(int cpu)
{
	return sibling(cpu) != cpu && cpus[sibling(cpu)].shields;
}

/* The latest key that a CPU takes now, as latest_key() of sched/shield.bpf.h. */
static u64 latest_key(int cpu)
{
	return is_shielded(cpu) ? scxg_latest_shielded_key(now) : ~0ULL;
}

static bool is_exempt(const struct task *t)
{
	return t->f.is_kthread || scxg_is_favoured(t->f.class_id);
}

/* As is_due() of sched/shield.bpf.h. */
static bool is_due(const struct task *t)
{
	return is_exempt(t) || (t->kept && t->key <= scxg_latest_shielded_key(now));
}

static void check_wait(const struct task *t)
{
	/* policy.h: C are the task's CPUs, N the tasks that these serve; a slice ends at the tick after it. */
	u64 c = t->bound ? 1 : t->span, wait = now - t->queued;
	u64 bound = (t->weight < SCXG_WEIGHT ? SCXG_DEADLINE_LIGHT_NS : SCXG_DEADLINE_MAX_NS) +
		    SCXG_CREDIT_MAX_NS + SCXG_SYNC_LEAD_NS +
		    (nr_llcs > 1 ? SCXG_STEAL_LEAD_NS + SCXG_REMOTE_SCAN_NS : 0) +
		    (machine == SMT ? TICK : 0) +
		    ((t->rivals + c - 1) / c + 1) * (SCXG_SLICE_MAX_NS + TICK);

	wait_sum += wait;
	if (wait > bound)
		broken++;
	if (!worst_bound || wait * worst_bound > worst_wait * bound) {
		worst_wait = wait;
		worst_bound = bound;
	}
}

/* Full speed, but for a little core, and for a core whose other half is busy as well. */
static u64 speed_of(int cpu)
{
	if (machine == BIGLITTLE && cpu >= nr_cpus / 2)
		return 50;
	if (machine == SMT && (cpu ^ 1) < nr_cpus && cpus[cpu ^ 1].running)
		return 60;
	return 100;
}

static void reschedule(int cpu);

/* The game computes on this CPU: what the sibling runs gives way. */
static void raise_shield(int cpu)
{
	const struct cpu *other = &cpus[sibling(cpu)];

	if (sibling(cpu) == cpu)
		return;
	cpus[cpu].shields = true;
	if (other->running && !is_due(other->running))
		reschedule(sibling(cpu));
}

static void run(int cpu, struct task *t, u64 slice)
{
	check_wait(t);
	runs++;
	migrations += t->cpu != cpu;
	cpus[cpu].speed = speed_of(cpu);
	cpus[cpu].running = t;
	cpus[cpu].since = now;
	cpus[cpu].slice_end = now + slice;
	t->cpu = cpu;
	push_event((struct event){.time = now + 1 + t->left * 100 / cpus[cpu].speed,
				  .stamp = ++stamps[cpu],
				  .cpu = cpu,
				  .task = t});
	if (scxg_is_favoured(t->f.class_id) &&
	    !scxg_is_brief(t->f.maturity, t->f.burst, t->f.burst_avg))
		raise_shield(cpu);
}

static void queue(struct task *t, bool wakes)
{
	bool keeps = !wakes && t->kept && t->used + SCXG_SLICE_REST_NS < t->slice;
	u64 key = ~0ULL, slice = SCXG_SLICE_MAX_NS;

	decisions++;
	if (!keeps || scxg_is_favoured(t->f.class_id)) {
		key = scxg_key(&t->f, &tun, now);
		slice = scxg_slice(t->f.class_id, t->f.game_active, &tun);
	}
	if (keeps) {
		key = scxg_min(key, t->key);
		slice = scxg_min(slice, t->slice - t->used);
	} else {
		t->f.owed = 0;
	}
	t->kept = true;
	t->used = 0;
	t->queued = now;
	t->key = key;
	t->slice = slice;
	push(t->bound ? &own[t->cpu] : &shared[llc(t->cpu)], t);
}

static void uncount_weight(struct task *t)
{
	if (t->counted)
		*t->counted -= (s64)t->weight - SCXG_WEIGHT;
	t->counted = NULL;
}

/* As owed_after() of sched/share.bpf.h. */
static s64 owed_after(struct task *t, u64 debt, u64 ran, int next)
{
	const struct heap *mine = &own[t->cpu], *near = &shared[llc(t->cpu)];
	s64 lack = SCXG_WEIGHT - (s64)t->weight;
	int all = nr_cpus / nr_llcs;
	s64 here, around;
	struct scxg_share share = {.weight = t->weight,
				   .cpus = t->bound || all < t->span ? all : t->span};

	if (!weighed || t->f.is_kthread || debt < SCXG_DEBT_HOG_NS)
		return t->f.owed;
	uncount_weight(t);
	t->counted = t->bound ? &cpus[t->cpu].extra : &extra_weight[llc(t->cpu)];
	*t->counted -= lack;
	if (!lack && !cpus[t->cpu].extra && !extra_weight[llc(t->cpu)])
		return t->f.owed;
	here = mine->n + (t->bound ? next : 0);
	around = near->n + (t->bound ? 0 : next);
	share.rivals = ((here + t->bound) * lack + cpus[t->cpu].extra) * share.cpus;
	if (around)
		share.rivals += (around + share.cpus - t->bound) * lack + extra_weight[llc(t->cpu)];
	return scxg_owed(t->f.owed, ran, &share, rnd(256));
}

static struct task *pick(int cpu)
{
	struct heap *mine = &own[cpu], *near = &shared[llc(cpu)], *far = NULL;
	u64 mine_key, near_key, far_key = ~0ULL, key;
	struct task *t = cpus[cpu].local;
	u64 latest = latest_key(cpu);

	decisions++;
	if (t) { /* the kernel empties the local DSQ before it calls dispatch */
		cpus[cpu].local = NULL;
		if (latest == ~0ULL || is_due(t))
			return t;
		push(t->bound ? &own[t->cpu] : &shared[llc(t->cpu)], t); /* stopped as it starts */
	}
	mine_key = head_on(mine, cpu);
	near_key = head_on(near, cpu);
	if (nr_llcs > 1 && now - cpus[cpu].last_remote_scan >= SCXG_REMOTE_SCAN_NS) {
		cpus[cpu].last_remote_scan = now;
		for (int i = 0; i < nr_llcs; i++) {
			key = &shared[i] == near ? ~0ULL : head_on(&shared[i], cpu);
			if (key < far_key) {
				far = &shared[i];
				far_key = key;
			}
		}
		if (far && far_key <= latest &&
		    scxg_is_overdue(far_key, scxg_min(mine_key, near_key)))
			return pop(far, cpu);
	}
	if (latest != ~0ULL && scxg_min(mine_key, near_key) > latest)
		return NULL;
	if (mine->n && mine_key <= near_key)
		return pop(mine, cpu);
	t = pop(near, cpu);
	if (!t)
		t = pop(mine, cpu);
	if (t || latest != ~0ULL)
		return t;
	for (int i = 1; i < nr_llcs; i++) {
		struct heap *other = &shared[(llc(cpu) + i) % nr_llcs];

		looks++;
		t = pop(other, cpu);
		if (t)
			return t;
	}
	return NULL;
}

/* The game's thread on this CPU stops: its sibling takes tasks again. */
static void lower_shield(int cpu)
{
	int other = sibling(cpu);
	struct task *next;

	if (!cpus[cpu].shields)
		return;
	cpus[cpu].shields = false;
	next = cpus[other].running ? NULL : pick(other);
	if (next)
		run(other, next, next->slice);
}

/* Whoever gave way goes to a CPU that is idle, if there is one. */
static void kick_idle_cpu(void)
{
	struct task *next;

	for (int cpu = 0; cpu < nr_cpus; cpu++) {
		if (cpus[cpu].running || is_shielded(cpu))
			continue;
		next = pick(cpu);
		if (next)
			run(cpu, next, next->slice);
		return;
	}
}

/* As goes_on() of sched/share.bpf.h. */
static bool goes_on(int cpu)
{
	struct task *t = cpus[cpu].running;
	struct scxg_facts f = t->f;

	if (!weighed || cpus[cpu].local || t->f.is_kthread || !t->kept ||
	    (!cpus[cpu].extra && !extra_weight[llc(cpu)]))
		return false;
	f.debt = scxg_debt_ran(f.debt, now - cpus[cpu].since);
	f.owed = owed_after(t, f.debt, now - cpus[cpu].since, 0);
	return scxg_key(&f, &tun, now) <
	       scxg_min(head_on(&own[cpu], cpu), head_on(&shared[llc(cpu)], cpu));
}

/* The task that runs has no slice left, or is preempted: asked for another first, queued again after. */
static void reschedule(int cpu)
{
	struct cpu *c = &cpus[cpu];
	struct task *prev = c->running, *next = goes_on(cpu) ? NULL : pick(cpu);
	u64 ran = now - c->since;

	if (!next && (!is_shielded(cpu) || is_exempt(prev))) {
		c->slice_end = now + SCXG_SLICE_MAX_NS;
		return;
	}
	prev->left -= scxg_min(ran * c->speed / 100, prev->left);
	prev->f.burst += ran;
	prev->f.debt = scxg_debt_ran(prev->f.debt, ran);
	prev->used += ran;
	prev->ran += ran;
	prev->f.owed =
	    owed_after(prev, prev->f.debt, ran, prev->used + SCXG_SLICE_REST_NS >= prev->slice);
	c->running = NULL; /* it holds, where nobody passes */
	stamps[cpu]++;
	queue(prev, false);
	lower_shield(cpu);
	if (next)
		run(cpu, next, next->slice);
	kick_idle_cpu();
}

/* As preempt_score_on() of sched/preempt.bpf.h. */
static u32 preempt_score(const struct task *t, int cpu)
{
	const struct cpu *c = &cpus[cpu];

	if (!c->running)
		return SCXG_SCORE_NONE;
	struct scxg_running r = {
	    .burst = c->running->f.burst + now - c->since,
	    .debt = scxg_debt_ran(c->running->f.debt, now - c->since),
	    .class_id = c->running->f.class_id,
	    .is_short = scxg_is_short(&c->running->f),
	    .is_kthread = c->running->f.is_kthread,
	    .is_urgent = c->running->f.is_urgent,
	};

	looks++;
	if (is_shielded(cpu) && !is_exempt(t) && !t->f.is_urgent)
		return SCXG_SCORE_NONE;
	return scxg_score_on_core(
	    scxg_score_after_kick(scxg_preempt_score(&t->f, &r), now - c->last_kick,
				  c->last_kick >= c->since,
				  tun.value[SCXG_TUN_PREEMPT_MIN_US] * SCXG_NS_PER_US),
	    !is_shielded(cpu));
}

static void kick(int victim)
{
	cpus[victim].last_kick = now;
	reschedule(victim);
}

/* As enqueue, which chooses a victim before it inserts the task. */
static void set_preempting_key(struct task *t, u32 score)
{
	struct heap *h = t->bound ? &own[t->cpu] : &shared[llc(t->cpu)];
	u64 key = scxg_preempting_key(t->key, score, now);
	int i = 0;

	if (key == t->key)
		return;
	while (h->at[i] != t)
		i++;
	take(h, i);
	t->key = key;
	push(h, t);
}

static void preempt(struct task *t)
{
	u32 best = 0, score;
	int victim = -1;

	/* Somebody else would get the CPU. */
	if (!scxg_is_favoured(t->f.class_id) && t->f.class_id != SCXG_CLASS_KTHREAD &&
	    !t->f.is_urgent && !scxg_is_light_worker(&t->f) &&
	    t->key > head_on(&shared[llc(t->cpu)], t->cpu))
		return;
	for (int i = 0; i < (t->bound ? 1 : 8); i++) {
		int cpu = (t->cpu + i) % nr_cpus;

		score = is_allowed(t, cpu) ? preempt_score(t, cpu) : 0;
		if (score > best) {
			best = score;
			victim = cpu;
		}
		if (scxg_prefers_prev_cpu(score) && !i) /* at home */
			break;
	}
	if (victim < 0)
		return;
	set_preempting_key(t, best);
	kick(victim);
}

/* As insert_sync_wakeup() of sched/place.bpf.h: on the CPU of some light task, which stands for its waker. */
static bool insert_sync_wakeup(struct task *t)
{
	int here = rnd(nr_cpus);
	struct cpu *c = &cpus[here];
	u64 key;

	if (!is_allowed(t, here) || t->bound || !c->running || c->local ||
	    !scxg_is_short(&c->running->f) || t->f.debt >= SCXG_DEBT_LIGHT_NS ||
	    scxg_is_favoured(t->f.class_id) ||
	    (nr_llcs > 1 && now - c->last_remote_scan >= SCXG_REMOTE_SCAN_NS))
		return false;
	key = scxg_key(&t->f, &tun, now);
	if (!scxg_may_insert_sync(
		key, scxg_min(head_on(&own[here], here), head_on(&shared[llc(here)], here))))
		return false;
	t->key = key;
	t->slice = scxg_slice(t->f.class_id, t->f.game_active, &tun);
	t->used = 0;
	t->kept = true;
	c->local = t;
	return true;
}

static void wake(struct task *t)
{
	t->left = 1 + t->burst_ns / 2 + rnd(t->burst_ns);
	t->queued = now;
	t->f.debt = scxg_debt_slept(t->f.debt, now - t->asleep);
	t->f.owed = t->f.owed > (s64)(now - t->asleep) ? t->f.owed - (s64)(now - t->asleep) : 0;
	/* The game stays at home where that CPU gives way, even with another one idle. */
	if (!t->bound && scxg_is_favoured(t->f.class_id) && cpus[t->cpu].running &&
	    scxg_prefers_prev_cpu(preempt_score(t, t->cpu))) {
		queue(t, true);
		kick(t->cpu);
		return;
	}
	for (int i = 0; i < (t->bound ? 1 : nr_cpus); i++) {
		int cpu = (t->cpu + i) % nr_cpus;

		if (!cpus[cpu].running && is_allowed(t, cpu) &&
		    (!is_shielded(cpu) || is_exempt(t))) {
			t->kept = false;
			run(cpu, t, SCXG_SLICE_MAX_NS);
			return;
		}
	}
	if (t->sync && insert_sync_wakeup(t))
		return;
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
	uncount_weight(t);
	t->f.burst = 0;
	t->f.maturity += t->f.maturity < 1000;
	push_event((struct event){
	    .time = now + 1 + t->sleep_ns / 2 + rnd(t->sleep_ns), .cpu = -1, .task = t});
	cpus[cpu].running = NULL;
	lower_shield(cpu);
	next = pick(cpu);
	if (next)
		run(cpu, next, next->slice);
}

/* As shield_tick() of sched/shield.bpf.h. */
static void shield_tick(int cpu)
{
	struct cpu *c = &cpus[cpu], *other = &cpus[sibling(cpu)];
	struct task *next;

	if (c->shields && !other->running) {
		next = pick(sibling(cpu));
		if (next)
			run(sibling(cpu), next, next->slice);
	}
	if (!c->shields && scxg_is_favoured(c->running->f.class_id))
		raise_shield(cpu);
	if (is_shielded(cpu) && !is_exempt(c->running) &&
	    (!is_due(c->running) ||
	     now - c->since >= scxg_slice(c->running->f.class_id, c->running->f.game_active, &tun)))
		c->slice_end = now;
}

static void tick(int cpu)
{
	struct cpu *c = &cpus[cpu];

	if (!c->running)
		return;
	if (sibling(cpu) != cpu)
		shield_tick(cpu);
	if ((c->local || own[cpu].n || shared[llc(cpu)].n) &&
	    now - c->since >= scxg_slice(c->running->f.class_id, c->running->f.game_active, &tun))
		c->slice_end = now;
	if (now >= c->slice_end)
		reschedule(cpu);
}

static void make_task(struct task *t)
{
	static const u64 bursts[] = {20000, 200000, 3000000, 30000000, 1000000000000ULL};

	t->f.class_id = rnd(SCXG_NR_CLASSES);
	t->f.game_active = !weighed;
	t->f.is_kthread = t->f.class_id == SCXG_CLASS_KTHREAD || rnd(8) == 0;
	t->f.window_open = true; /* for ever: an 8 kHz mouse does that */
	t->f.debt = SCXG_DEBT_NEW_NS;
	t->burst_ns = bursts[rnd(5)];
	t->sleep_ns = bursts[rnd(4)];
	t->cpu = rnd(nr_cpus);
	/* For ever, which their share does not allow. */
	t->f.is_urgent = clocked && t->burst_ns <= 200000 && t->f.class_id != SCXG_CLASS_KTHREAD &&
			 t->f.class_id != SCXG_CLASS_BACKGROUND;
	t->bound = t->f.class_id == SCXG_CLASS_KTHREAD || rnd(8) == 0;
	t->sync = rnd(2);
	t->weight = weighed && rnd(2) ? scxg_weight(SCXG_PRIO_MIN + rnd(40)) : SCXG_WEIGHT;
	t->first = 0;
	t->span = nr_cpus;
	if (rnd(100) >= restricted)
		return;
	if (rnd(4))
		t->burst_ns = bursts[4];
	/* Most of the restricted ones share their CPUs, as a program's threads do. */
	t->first = rnd(4) ? 0 : rnd(nr_cpus);
	t->span = 1 + (int)rnd(nr_cpus < 3 ? nr_cpus : 3);
	t->bound |= t->span == 1; /* it has that CPU's queue */
	if (!t->bound || t->span == 1)
		t->cpu = (t->first + (int)rnd(t->span)) % nr_cpus;
}

static void count_rivals(struct task *t)
{
	if (!restricted && !t->bound) {
		t->rivals = nr_tasks;
		return;
	}
	t->rivals = 0;
	for (int i = 0; i < nr_tasks; i++) {
		bool meets = false;

		for (int n = 0; n < (t->bound ? 1 : t->span) && !meets; n++)
			meets = is_allowed(&tasks[i], t->bound ? t->cpu : (t->first + n) % nr_cpus);
		t->rivals += meets;
	}
}

static void reset(void)
{
	memset(tasks, 0, sizeof(tasks));
	memset(cpus, 0, sizeof(cpus));
	memset(stamps, 0, sizeof(stamps));
	memset(extra_weight, 0, sizeof(extra_weight));
	nr_events = 0;
	now = 0;
	for (int i = 0; i < MAX_CPUS; i++)
		own[i].n = shared[i].n = 0;
}

/* The tasks of this machine for some time. */
static void go(u64 end)
{
	u64 next_tick = 0;

	for (int i = 0; i < nr_tasks; i++)
		count_rivals(&tasks[i]);
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
}

/* Hogs of these weights that never sleep; prints for how much of the time each of them ran. */
static void share_out(u64 end)
{
	weighed = true;
	seed_with(1);
	for (int i = 0; i < SCXG_NR_TUNABLES; i++)
		tun.value[i] = scxg_clamp_tunable(i, 0);
	tun.value[SCXG_TUN_SLICE_US] = SCXG_DEF_SLICE_US;
	tun.value[SCXG_TUN_DEADLINE_CAP_MS] = SCXG_DEF_DEADLINE_CAP_MS;
	for (int i = 0; i < nr_tasks; i++) {
		tasks[i].f.class_id = SCXG_CLASS_NORMAL;
		tasks[i].burst_ns = 2 * end;
		tasks[i].span = nr_cpus;
		push_event((struct event){.time = 1 + i, .cpu = -1, .task = &tasks[i]});
	}
	go(end);
	for (int i = 0; i < nr_cpus; i++)
		if (cpus[i].running)
			cpus[i].running->ran += now - cpus[i].since;
	for (int i = 0; i < nr_tasks; i++)
		printf("%.4f ", (double)tasks[i].ran / end);
	puts("");
}

/* One machine and its tasks, both drawn, for some time. */
static void simulate(u64 end)
{
	/* Nothing here reads a tunable from home on, and a draw for it would make other sets of the seeds that tests name. */
	for (int i = 0; i < SCXG_TUN_HOME; i++) {
		u64 value = rnd(200000);

		tun.value[i] = scxg_clamp_tunable(i, i == SCXG_TUN_SMT_ISOLATE ? value & 1 : value);
	}
	for (int i = 0; i < nr_tasks; i++) {
		make_task(&tasks[i]);
		push_event((struct event){
		    .time = 1 + rnd(10 * SCXG_NS_PER_MS), .cpu = -1, .task = &tasks[i]});
	}
	go(end);
	/* Who waits still has waited too. */
	for (int i = 0; i < nr_cpus; i++) {
		if (cpus[i].local)
			check_wait(cpus[i].local);
		for (int j = 0; j < own[i].n; j++)
			check_wait(own[i].at[j]);
		for (int j = 0; j < shared[i].n; j++)
			check_wait(shared[i].at[j]);
	}
}

/* A machine and a task set that follow from their number. */
static void draw(u64 number)
{
	static const int sizes[] = {1, 2, 4, 8, 16};

	seed_with(number);
	nr_cpus = sizes[rnd(5)];
	nr_llcs = 1 + (int)rnd(nr_cpus < 4 ? nr_cpus : 4);
	nr_tasks = 1 + (int)rnd(24 * nr_cpus);
	machine = (enum machine)rnd(3);
	restricted = rnd(2) ? rnd(100) : 0;
	clocked = number % 5 == 1; /* not drawn, as for home */
	weighed = number % 5 == 2;
}

static enum machine machine_named(const char *name)
{
	if (!strcmp(name, "plain"))
		return PLAIN;
	if (!strcmp(name, "smt"))
		return SMT;
	if (!strcmp(name, "biglittle"))
		return BIGLITTLE;
	fprintf(stderr, "simulate: no machine is called '%s': plain, smt or biglittle\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	bool sets = argc == 4 && !strcmp(argv[1], "sets"),
	     shares = argc > 3 && !strcmp(argv[1], "shares");

	if (!sets && !shares && argc != 6 && argc != 7)
		return 2;
	for (int i = 0; i < MAX_CPUS; i++) {
		own[i].at = calloc(MAX_TASKS, sizeof(*own[i].at));
		shared[i].at = calloc(MAX_TASKS, sizeof(*shared[i].at));
	}
	events = calloc(20000000, sizeof(*events)); /* void ones stay until their time comes */
	if (shares) {
		nr_cpus = atoi(argv[2]);
		nr_llcs = 1;
		nr_tasks = argc - 3;
		if (nr_cpus < 1 || nr_cpus > MAX_CPUS || nr_tasks > MAX_TASKS)
			return 2;
		for (int i = 0; i < nr_tasks; i++)
			tasks[i].weight = scxg_weight((u32)atoi(argv[3 + i]));
		share_out(60000 * SCXG_NS_PER_MS);
		return 0;
	}
	if (sets) {
		u64 first = strtoull(argv[2], NULL, 10), count = strtoull(argv[3], NULL, 10);

		for (u64 i = first; i < first + count; i++) {
			reset();
			draw(i);
			simulate(1000 * SCXG_NS_PER_MS);
			if (broken) {
				fprintf(stderr, "simulate: set %llu\n", (unsigned long long)i);
				break;
			}
		}
	} else {
		seed_with(strtoull(argv[1], NULL, 10));
		nr_cpus = atoi(argv[2]);
		nr_llcs = atoi(argv[3]);
		nr_tasks = atoi(argv[4]);
		machine = machine_named(argc == 7 ? argv[6] : "plain");
		if (nr_cpus < 1 || nr_cpus > MAX_CPUS || nr_llcs < 1 || nr_llcs > nr_cpus ||
		    nr_tasks < 1 || nr_tasks > MAX_TASKS)
			return 2;
		simulate(strtoull(argv[5], NULL, 10) * SCXG_NS_PER_MS);
	}
	printf("decisions %llu worst_ms %.1f bound_ms %.1f broken %llu looks %.3f steps %.3f "
	       "migrations %.3f wait_ms %.3f\n",
	       (unsigned long long)decisions, worst_wait / 1e6, worst_bound / 1e6,
	       (unsigned long long)broken, (double)looks / decisions, (double)steps / decisions,
	       (double)migrations / runs, wait_sum / 1e6 / runs);
	return broken ? 1 : 0;
}
