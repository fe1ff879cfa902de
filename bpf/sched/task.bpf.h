/* SPDX-License-Identifier: GPL-2.0-only */
/* Per-task state and class of a task, and the snapshot (`view`) that every decision about it is made from. */
#ifndef SCXG_SCHED_TASK_H
#define SCXG_SCHED_TASK_H

#include "state.bpf.h"
#include "classify.h"

#define MATURITY_MAX 1000
#define GROUP_DEPTH 32 /* levels of cgroups that are looked at */
#define MAX_QUOTAS 4   /* on the way from a task's cgroup to the root */

struct task_ctx {
	u64 generation;
	u64 queued_ns; /* 0 while not waiting */
	u64 burst;
	u64 burst_avg;
	u64 debt;
	u64 asleep_ns;	/* since when it sleeps; 0 once that is accounted for */
	u64 stopped_ns; /* when it ran last */
	u64 input_ns; /* the report that led to its last wake-up; 0: none did, or its first run is over */
	u64 key; /* under which it was queued last; 0: inserted into an idle CPU's local DSQ, without a key */
	u64 slice; /* granted with that key */
	u64 used;  /* of it */
	u64 class_epoch;
	u32 class_id;
	u32 maturity;
	u32 counted; /* 1 + class under which it is counted in tasks[], 0 if not counted */
	s32 last_cpu;
	u32 is_bulk;
	u32 is_idle;	 /* SCHED_IDLE, or in a cgroup with cpu.idle */
	u32 urgent_link; /* since its last wake-up, scxg_link(); 0: not urgent */
	struct scxg_beat beat;
	u64 paid_ns; /* until when its share has paid for its runs */
	s64 owed;    /* time that it leaves to others for its weight */
	s32 extra;   /* counted for it in extra_weight[extra_at] */
	u32 extra_at;
	u32 loaded; /* counted for it in the load of its cgroup, `loaded_at` */
	u32 nr_quotas;
	u64 loaded_at;
	u64 tg; /* for which group the following was found, and when (group.bpf.h) */
	u64 groups_epoch;
	u64 quotas[MAX_QUOTAS]; /* ids of cgroups, as `weighted`; 0: none */
	u64 weighted;
	u64 group_weight; /* of nice 0 in it, alone */
	u64 held_ns;	  /* since when it waits for a quota */
	u64 lent_until;	  /* it has the place of a thread of the game that waits for its lock */
	u32 lent_by;	  /* tid of that one */
};

/* The policy's knowledge of a task. Read and written by the callbacks only. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_ctx);
} task_ctxs SEC(".maps");

/* ---- classes -------------------------------------------------------------------------------- */

static __always_inline void uncount_task(struct scxg_sched_state *state, struct task_ctx *tc)
{
	u32 class_id = tc->counted - 1;

	if (tc->counted && tc->generation == generation && class_id < SCXG_NR_CLASSES)
		__sync_fetch_and_sub(&state->tasks[class_id], 1);
	tc->counted = 0;
}

static __always_inline void count_task_as(struct scxg_sched_state *state, struct task_ctx *tc,
					  u32 class_id)
{
	if (tc->counted == class_id + 1)
		return;
	uncount_task(state, tc);
	if (class_id < SCXG_NR_CLASSES)
		__sync_fetch_and_add(&state->tasks[class_id], 1);
	tc->counted = class_id + 1;
}

/* Grows when the cpu.idle of a cgroup changes: tasks are classified again. */
static u64 idle_epoch;

/* Return true for SCHED_IDLE, and in a cgroup with cpu.idle or below one. Global, as in queue.bpf.h. */
__noinline int has_idle_policy(struct task_struct *p __arg_trusted)
{
	struct task_group *tg = p->sched_task_group;
	u32 i;

	bpf_for(i, 0, GROUP_DEPTH)
	{
		if (!tg)
			break;
		if (bpf_core_field_exists(tg->idle) && tg->idle)
			return 1;
		tg = tg->parent;
	}
	return p->policy == SCHED_IDLE;
}

/* Return the task's context, its class up to date; NULL without storage. One lookup per callback. */
static __always_inline struct task_ctx *get_task_ctx(struct task_struct *p,
						     struct scxg_control *ctl)
{
	struct scxg_sched_state *state;
	struct task_ctx *tc;
	u64 epoch;

#ifdef SCXG_FAULTS
	if (fault_storage)
		return NULL;
#endif
	tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
	if (!tc || !ctl)
		return NULL;
	epoch = ctl->class_epoch + idle_epoch;
	if (tc->generation == generation && tc->class_epoch == epoch)
		return tc;
	state = get_sched_state();
	if (!state)
		return NULL;
	if (tc->generation != generation) {
		struct scxg_cpu_stats *stats = this_cpu_stats();

		if (tc->generation && stats)
			stats->ctx_reset++;
		__builtin_memset(tc, 0, sizeof(*tc));
		tc->generation = generation;
		tc->last_cpu = -1;
		tc->debt = SCXG_DEBT_NEW_NS;
	}
	tc->class_epoch = epoch;
	tc->class_id = scxg_classify(p, &tc->is_bulk);
	tc->is_idle = has_idle_policy(p);
	if (tc->is_idle && tc->class_id == SCXG_CLASS_NORMAL && !tc->is_bulk)
		tc->class_id = SCXG_CLASS_BACKGROUND;
	count_task_as(state, tc, tc->class_id);
	return tc;
}

/* While the heartbeat is stale, classes assigned by the supervisor are ignored. */
static __always_inline u32 effective_class(const struct task_ctx *tc,
					   const struct scxg_sched_state *state)
{
	u32 class_id = tc ? tc->class_id : SCXG_CLASS_NORMAL;

	return state->effects || class_id == SCXG_CLASS_KTHREAD ? class_id : SCXG_CLASS_NORMAL;
}

/* ---- view ----------------------------------------------------------------------------------- */

/* The inputs of a decision about a task, gathered once. */
struct view {
	struct scxg_control *ctl;
	struct scxg_tunables *tun;
	struct scxg_sched_state *state;
	struct task_ctx *tc;
	struct scxg_cpu_stats *stats;
	u64 now;
	struct scxg_facts facts;
};

/* Charge runs to the share of all threads in step beside the game. */
static __always_inline void charge_all(u64 ran, u64 now)
{
	u64 paid = urgent_paid_ns;

	/* Who loses this race was paid for by the winner. */
	if (paid < now)
		__sync_val_compare_and_swap(&urgent_paid_ns, paid, now);
	__sync_fetch_and_add(&urgent_paid_ns, ran * SCXG_URGENT_PART / nr_cpus);
}

/* The link of the task that runs on this CPU, for the one that it wakes; 0 in the game, whose workers are behind no clock. */
static __always_inline u32 link_of_waker(u64 now)
{
	struct cpu_ctx *me = get_cpu_ctx(bpf_get_smp_processor_id());

	if (!me || !me->run_since || scxg_is_favoured(me->class_id) ||
	    me->burst_before + scxg_sub(now, me->run_since) >= SCXG_URGENT_BURST_NS)
		return 0;
	return me->urgent_link;
}

/*
 * Return the link of a waking task if it is urgent, else 0. What the burst is expected to take is charged to the share of
 * all at once, because a thousand tasks may wake up before the first of them stops.
 */
static __always_inline u32 claim_urgency(struct task_ctx *tc, const struct scxg_facts *f, u64 now)
{
	struct scxg_cpu_stats *stats = this_cpu_stats();
	bool beside = !scxg_is_favoured(f->class_id);
	u32 link =
	    scxg_link(f, scxg_beats(&tc->beat, now, beside), beside ? link_of_waker(now) : 0);

	if (!stats || !link || !scxg_may_be_urgent(f, tc->paid_ns, now, has_smt))
		return 0;
	if (beside) {
		if (!scxg_may_all_be_urgent(urgent_paid_ns, now)) {
			stats->urgent_refused++;
			return 0;
		}
		charge_all(tc->burst_avg + SCXG_URGENT_WAKE_NS, now);
	}
	stats->urgent++;
	return link;
}

/* A task in step, or behind one, stopped after a run: charge it, and all of its burst that was not expected. */
static __always_inline void charge_urgency(struct task_ctx *tc, u64 ran, u64 now)
{
	u64 expected = tc->burst_avg + SCXG_URGENT_WAKE_NS;

	tc->paid_ns = scxg_paid(tc->paid_ns, scxg_core_ns(ran, has_smt), now);
	if (tc->urgent_link && !scxg_is_favoured(tc->class_id) && tc->burst > expected)
		charge_all(scxg_min(ran, tc->burst - expected), now);
}

/*
 * Fill in the facts about a task, window_open and is_kthread excepted, and pay off its debt if it wakes up. Global, as in
 * queue.bpf.h, so that the verifier walks the rest of a callback once, not for each combination of facts. Return the class.
 */
__noinline u32 gather_facts(struct scxg_facts *f __arg_nonnull, struct task_ctx *tc,
			    struct scxg_sched_state *state __arg_nonnull,
			    struct scxg_control *ctl __arg_nonnull, u64 now)
{
	u64 slept;

	f->class_id = effective_class(tc, state);
	f->game_active = state->effects && ctl->game_active;
	f->debt = SCXG_DEBT_NEW_NS;
	if (!tc)
		return f->class_id;
	if (now < tc->lent_until && state->effects)
		f->class_id = SCXG_CLASS_GAME;
	f->burst = tc->burst;
	f->burst_avg = tc->burst_avg;
	f->maturity = tc->maturity;
	f->is_bulk = tc->is_bulk;
	if (tc->asleep_ns) {
		slept = scxg_sub(now, tc->asleep_ns);
		tc->debt = scxg_debt_slept(tc->debt, slept);
		tc->owed = tc->owed > (s64)slept ? tc->owed - (s64)slept : 0;
		tc->asleep_ns = 0;
		tc->urgent_link = f->game_active ? claim_urgency(tc, f, now) : 0;
	}
	f->debt = tc->debt;
	f->owed = f->game_active ? 0 : tc->owed;
	f->is_urgent = tc->urgent_link && f->burst < SCXG_URGENT_BURST_NS;
	return f->class_id;
}

/* Fill in the view of @p, window_open excepted. Return false if a map is missing, which array maps never are. */
static __always_inline bool view_init(struct view *v, struct task_struct *p)
{
	v->ctl = scxg_control();
	v->tun = scxg_tunables();
	v->state = get_sched_state();
	v->stats = this_cpu_stats();
	if (!v->ctl || !v->tun || !v->state || !v->stats)
		return false;
	v->now = bpf_ktime_get_ns();
	v->tc = get_task_ctx(p, v->ctl);
	if (!v->tc)
		v->stats->ctx_missing++;
	v->facts.is_kthread = p->flags & PF_KTHREAD;
	gather_facts(&v->facts, v->tc, v->state, v->ctl, v->now);
	return true;
}

static __always_inline bool is_any_window_open(u64 now)
{
	struct scxg_windows *win = scxg_windows();

	if (!win)
		return false;
	for (int lane = 1; lane < SCXG_NR_LANES; lane++)
		if (now < scxg_max(win->lane[lane].until_ns, win->lane[lane].held_until_ns))
			return true;
	return false;
}

/* Fill in window_open. Apart from view_init, because a task that finds an idle CPU does not need it. */
static __always_inline void view_read_window(struct view *v)
{
	u32 class_id = v->facts.class_id;

	/* Input to another program is no input of the game; the compositor answers it all the same. */
	v->facts.window_open = scxg_is_favoured(class_id) &&
			       !(class_id == SCXG_CLASS_GAME && v->ctl->focus_away) &&
			       v->state->effects && is_any_window_open(v->now);
}

/*
 * Note which report woke a favoured task: the one that this CPU delivers, else the one that woke the waker, a task such
 * as the compositor. The first thread of the game that a waker wakes takes the report over, because the others do not
 * answer it. For the counters alone, so a wake-up without recent input costs two loads and no call. Runs on the waker's
 * CPU: sched_ext takes no wake-up by way of another CPU's queue unless SCX_OPS_ALLOW_QUEUED_WAKEUP is set.
 */
static __always_inline void note_input(const struct view *v, s32 here)
{
	struct scxg_windows *win = scxg_windows();
	struct task_ctx *waker;
	u64 age;

	if (!win || !v->tc)
		return;
	v->tc->input_ns = 0;
	age = scxg_sub(v->now, win->input_ns);
	if (age > SCXG_INPUT_CHAIN_MS * SCXG_NS_PER_MS)
		return;
	if (win->input_cpu == (u32)here && age < input_wake_us * SCXG_NS_PER_US) {
		v->tc->input_ns = win->input_ns;
		return;
	}
	waker = bpf_task_storage_get(&task_ctxs, bpf_get_current_task_btf(), NULL, 0);
	if (!waker || waker->class_id != SCXG_CLASS_CRITICAL || !waker->input_ns ||
	    scxg_sub(v->now, waker->input_ns) > SCXG_INPUT_CHAIN_MS * SCXG_NS_PER_MS)
		return;
	v->tc->input_ns = waker->input_ns;
	if (v->facts.class_id == SCXG_CLASS_GAME)
		waker->input_ns = 0;
}

/* ---- tasks come and go ---------------------------------------------------------------------- */

/* Classify again at the next enqueue. */
static __always_inline struct task_ctx *forget_class(struct task_struct *p)
{
	struct task_ctx *tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);

	if (tc)
		tc->class_epoch = ~0ULL;
	return tc;
}

/* Nice and policy are part of the class, and nothing is owed for the last ones. */
SEC("struct_ops/scxg_set_weight")
void BPF_PROG(scxg_set_weight, struct task_struct *p, u32 weight)
{
	struct task_ctx *tc = forget_class(p);

	if (tc)
		tc->owed = 0;
}

/* A kernel thread has run once before kthread_bind() binds it to its CPU. */
SEC("struct_ops/scxg_set_cpumask")
void BPF_PROG(scxg_set_cpumask, struct task_struct *p, const struct cpumask *cpumask)
{
	forget_class(p);
}

SEC("struct_ops.s/scxg_init_task")
s32 BPF_PROG(scxg_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
#ifdef SCXG_FAULTS
	if (fault_storage)
		return 0;
#endif
	/* Without a context the task runs with safe defaults: an error here would end the scheduler, or fail the fork. */
	bpf_task_storage_get(&task_ctxs, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	return 0;
}

SEC("struct_ops/scxg_exit_task")
void BPF_PROG(scxg_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	struct scxg_sched_state *state = get_sched_state();
	struct task_ctx *tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);

	if (state && tc)
		uncount_task(state, tc);
}

#endif /* SCXG_SCHED_TASK_H */
