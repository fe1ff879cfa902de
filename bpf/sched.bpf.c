/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scheduler. policy.h has the arithmetic and the starvation bound; here is where a task meets it: wake-up,
 * queue, dispatch, run, stop.
 *
 * One vtime queue per last-level cache, one per CPU for tasks that can run nowhere else. What would break the bound,
 * and is therefore not done: inserting into a busy CPU's local queue ahead of an earlier key, keeping a task that runs
 * although somebody waits past its slice, queueing where no allowed CPU looks, returning without inserting.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "compat.h"
#include "policy.h"
#include "shared_maps.h"

char _license[] SEC("license") = "GPL";

#define DSQ_LLC_BASE 0x1000ULL
#define DSQ_CPU_BASE 0x2000ULL
#define PREEMPT_CANDIDATES 8
#define KICK_TRIES 3

/*
 * The kernel's watchdog, the backstop behind the bound: it must not end a machine with thousands of runnable threads,
 * whose fair turn comes after some ten seconds. 30 s is its default and its limit; the test build stalls on purpose.
 */
#ifdef SCXG_FAULTS
#define WATCHDOG_MS 5000
#else
#define WATCHDOG_MS 30000
#endif

#define OLDEST_SCAN 256 /* queued tasks looked at by one timer pass, per queue */

/* Written by the supervisor between open and load. */
const volatile u64 generation = 1;
const volatile u32 nr_cpus = 1;
const volatile u32 nr_llcs = 1;
const volatile u16 cpu_llc[SCXG_MAX_CPUS];
const volatile u64 storm_kicks = SCXG_STORM_KICKS; /* a test sets less */

#ifdef SCXG_FAULTS
/* Faults of the test build: 0 is off. */
const volatile u64 fault_stall_ms; /* dispatch does nothing after this long */
const volatile u64 fault_error_ms; /* scx_bpf_error after this long */
const volatile u32 fault_storage;  /* task storage cannot be had */
const volatile u32 fault_timer;	   /* the timer cannot be started */
#endif

struct task_ctx {
	u64 generation;
	u64 queued_ns; /* 0 while not waiting */
	u64 burst;
	u64 burst_avg;
	u64 debt;
	u64 asleep_ns;	/* since when it sleeps; 0 once that is accounted for */
	u64 stopped_ns; /* when it ran last */
	u64 key;	/* under which it was queued last; 0: it was not, it went to an idle CPU */
	u64 slice;	/* granted with that key */
	u64 used;	/* of it */
	u64 class_epoch;
	u32 class_id;
	u32 maturity;
	u32 counted; /* 1 + class under which it is counted in tasks[], 0 if not counted */
	s32 last_cpu;
};

/* Per task: what the policy knows of it. Read and written by the callbacks only. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_ctx);
} task_ctxs SEC(".maps");

/* What runs on a CPU now. Written by that CPU, read by others that look for a victim. */
struct cpu_ctx {
	u64 run_since;
	u64 burst_before;
	u64 debt_before;
	u64 last_kick;
	u64 kicks_since; /* start of the second in which `kicks` are counted */
	u64 kicks;
	u32 class_id;
	u32 is_short;
	u32 is_kthread;
	u32 pick_score; /* scratch of best_victim, of the CPU that looks for one */
	s32 pick;
	u64 pick_kicked; /* last_kick of that CPU then */
	u32 flip;	 /* turns of the two queues where heads cannot be compared */
	u64 handed_key;	 /* of who was put into its local queue last, while that CPU was busy */
	u64 far_look;	 /* when it last looked at the queues of other caches */
	u32 own;	 /* its own queue may hold somebody; its run queue's lock guards it */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCXG_MAX_CPUS);
	__type(key, u32);
	__type(value, struct cpu_ctx);
} cpu_ctxs SEC(".maps");

/* Counters, one writer per entry. Read by Python through a mapping. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set to the number of CPUs before the load */
	__type(key, u32);
	__type(value, struct scxg_cpu_stats);
} cpu_stats SEC(".maps");

/* Truth about this life of the scheduler. Read by Python through a mapping. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scxg_sched_state);
} sched_state SEC(".maps");

/* Why it ended: written once by exit, read by Python after the SCHED_EXIT event. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scxg_exit_info);
} exit_info SEC(".maps");

struct timer_slot {
	struct bpf_timer timer;
};

/* Housekeeping timer. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct timer_slot);
} timers SEC(".maps");

/* ---- lookups -------------------------------------------------------------------------------- */

static __always_inline struct scxg_cpu_stats *stats_of(u32 cpu)
{
	return bpf_map_lookup_elem(&cpu_stats, &cpu);
}

static __always_inline struct scxg_cpu_stats *my_stats(void)
{
	return stats_of(bpf_get_smp_processor_id());
}

static __always_inline struct cpu_ctx *cpu_ctx_of(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&cpu_ctxs, &key);
}

static __always_inline struct scxg_sched_state *state_get(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&sched_state, &zero);
}

static __always_inline u64 llc_dsq(s32 cpu)
{
	u32 llc = cpu >= 0 && cpu < SCXG_MAX_CPUS ? cpu_llc[cpu] : 0;

	return DSQ_LLC_BASE + (llc < nr_llcs ? llc : 0);
}

static __always_inline u64 cpu_dsq(s32 cpu)
{
	return DSQ_CPU_BASE + cpu;
}

static __always_inline bool bound_to_one_cpu(const struct task_struct *p)
{
	return p->nr_cpus_allowed == 1 || scxg_migration_disabled(p);
}

/* ---- classes -------------------------------------------------------------------------------- */

static __always_inline u32 class_of(const struct task_struct *p)
{
	u32 tgid = p->tgid;
	struct scxg_class_entry *entry;

	if (p->flags & PF_KTHREAD)
		return p->nr_cpus_allowed == 1 ? SCXG_CLASS_KTHREAD : SCXG_CLASS_NORMAL;
	entry = bpf_map_lookup_elem(&classes, &tgid);
	if (entry && entry->class_id < SCXG_CLASS_KTHREAD) {
		/* Start times cross as /proc shows them, in ticks of 10 ms: an old entry of a reused pid does not count. */
		if (!entry->start_ns ||
		    entry->start_ns / 10000000 == p->group_leader->start_boottime / 10000000)
			return entry->class_id;
	}
	/* static_prio of nice 10 is 130. */
	if (p->policy == SCHED_IDLE || p->policy == SCHED_BATCH || p->static_prio >= 130)
		return SCXG_CLASS_BACKGROUND;
	return SCXG_CLASS_NORMAL;
}

static __always_inline void uncount(struct scxg_sched_state *state, struct task_ctx *tc)
{
	u32 class_id = tc->counted - 1;

	if (tc->counted && tc->generation == generation && class_id < SCXG_NR_CLASSES)
		__sync_fetch_and_sub(&state->tasks[class_id], 1);
	tc->counted = 0;
}

static __always_inline void count_as(struct scxg_sched_state *state, struct task_ctx *tc,
				     u32 class_id)
{
	if (tc->counted == class_id + 1)
		return;
	uncount(state, tc);
	if (class_id < SCXG_NR_CLASSES)
		__sync_fetch_and_add(&state->tasks[class_id], 1);
	tc->counted = class_id + 1;
}

/* The task's context, brought up to date; NULL when storage could not be had. One lookup per callback. */
static __always_inline struct task_ctx *ctx_fresh(struct task_struct *p, struct scxg_control *ctl)
{
	struct scxg_sched_state *state;
	struct task_ctx *tc;

#ifdef SCXG_FAULTS
	if (fault_storage)
		return NULL;
#endif
	tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
	if (!tc || !ctl)
		return NULL;
	if (tc->generation == generation && tc->class_epoch == ctl->class_epoch)
		return tc;
	state = state_get();
	if (!state)
		return NULL;
	if (tc->generation != generation) {
		struct scxg_cpu_stats *stats = my_stats();

		if (tc->generation && stats)
			stats->ctx_reset++;
		__builtin_memset(tc, 0, sizeof(*tc));
		tc->generation = generation;
		tc->last_cpu = -1;
		tc->debt = SCXG_DEBT_NEW_NS;
	}
	tc->class_epoch = ctl->class_epoch;
	tc->class_id = class_of(p);
	count_as(state, tc, tc->class_id);
	return tc;
}

/* The class that counts now. The dead-man switch: what a stopped supervisor once said has no effect. */
static __always_inline u32 class_now(const struct task_ctx *tc,
				     const struct scxg_sched_state *state)
{
	u32 class_id = tc ? tc->class_id : SCXG_CLASS_NORMAL;

	return state->effects || class_id == SCXG_CLASS_KTHREAD ? class_id : SCXG_CLASS_NORMAL;
}

/* Everything a decision about a task needs, gathered once. */
struct view {
	struct scxg_control *ctl;
	struct scxg_tunables *tun;
	struct scxg_sched_state *state;
	struct task_ctx *tc;
	struct scxg_cpu_stats *stats;
	u64 now;
	struct scxg_facts facts;
};

static __always_inline bool any_window_open(u64 now)
{
	struct scxg_windows *win = scxg_windows();

	if (!win)
		return false;
	for (int lane = 1; lane < SCXG_NR_LANES; lane++)
		if (now < scxg_max(win->lane[lane].until_ns, win->lane[lane].held_until_ns))
			return true;
	return false;
}

static __always_inline bool look(struct view *v, struct task_struct *p)
{
	v->ctl = scxg_control();
	v->tun = scxg_tunables();
	v->state = state_get();
	v->stats = my_stats();
	if (!v->ctl || !v->tun || !v->state || !v->stats)
		return false;
	v->now = bpf_ktime_get_ns();
	v->tc = ctx_fresh(p, v->ctl);
	if (!v->tc)
		v->stats->ctx_missing++;
	v->facts.class_id = class_now(v->tc, v->state);
	if (v->tc && v->tc->asleep_ns) {
		v->tc->debt =
		    scxg_debt_slept(v->tc->debt, v->now - scxg_min(v->tc->asleep_ns, v->now));
		v->tc->asleep_ns = 0;
	}
	v->facts.debt = v->tc ? v->tc->debt : SCXG_DEBT_NEW_NS;
	v->facts.burst = v->tc ? v->tc->burst : 0;
	v->facts.burst_avg = v->tc ? v->tc->burst_avg : 0;
	v->facts.maturity = v->tc ? v->tc->maturity : 0;
	v->facts.game_active = v->state->effects && v->ctl->game_active;
	return true;
}

/* For whom it makes a difference, and only where it does: who finds an idle CPU needs no window. */
static __always_inline void see_window(struct view *v)
{
	u32 class_id = v->facts.class_id;

	/* Input that goes to another program is none for the game; the compositor still answers it. */
	v->facts.window_open = scxg_favoured(class_id) &&
			       !(class_id == SCXG_CLASS_GAME && v->ctl->focus_away) &&
			       v->state->effects && any_window_open(v->now);
}

/* ---- queues --------------------------------------------------------------------------------- */

/* Key of a queue's first task, ~0 if it is empty. */
static __always_inline u64 head_key(u64 dsq)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	u64 key = ~0ULL;

	if (bpf_ksym_exists(scx_bpf_dsq_peek)) { /* one look-up, no lock */
		p = scx_bpf_dsq_peek(dsq);
		return p ? p->scx.dsq_vtime : key;
	}
	if (scx_bpf_dsq_nr_queued(dsq) <= 0)
		return key;
	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		p = bpf_iter_scx_dsq_next(&it);
		if (p)
			key = p->scx.dsq_vtime;
	}
	bpf_iter_scx_dsq_destroy(&it);
	return key;
}

/*
 * The earliest key that waits where a CPU looks; 0 where heads cannot be seen. A global function: it is verified once
 * and by itself, not once for every way that leads here.
 */
__noinline u64 earliest_key(s32 cpu, u64 now)
{
	struct cpu_ctx *cc = cpu_ctx_of(cpu);

	/* With other caches it goes by what it saw there lately: dispatch sees to it that it looks. */
	if (!cc || !scxg_can_peek() || (nr_llcs > 1 && now >= cc->far_look + SCXG_FAR_LOOK_NS))
		return 0;
	return scxg_min(head_key(llc_dsq(cpu)), cc->own ? head_key(cpu_dsq(cpu)) : ~0ULL);
}

/* Whether who gave way for this key would give way to it: else that CPU takes somebody who waits for longer. */
__noinline bool is_next(s32 cpu, u64 key)
{
	return !scxg_can_peek() || key <= head_key(llc_dsq(cpu));
}

/* How many wait in a CPU's local queue, which it takes from without asking. */
static __always_inline s32 nr_local(s32 cpu)
{
	return scx_bpf_dsq_nr_queued(scxg_enum(scx_dsq_id_flags, SCX_DSQ_LOCAL_ON) | cpu);
}

/* Whether a busy CPU's local queue stays in the order of keys with one more at its head. */
static __always_inline bool goes_first(const struct cpu_ctx *cc, s32 cpu, u64 key, u64 now)
{
	return (nr_local(cpu) <= 0 || key <= cc->handed_key) && key <= earliest_key(cpu, now);
}

/* Where a task goes in the order, and how long it may run then. */
struct place {
	u64 key, slice;
};

/* Global for the same reason; -1 if the tunables are not there, which an array map never does. */
__noinline int find_place(const struct scxg_facts *facts __arg_nonnull, u64 now,
			  struct place *place __arg_nonnull)
{
	const struct scxg_tunables *tun = scxg_tunables();

	if (!tun)
		return -1;
	place->key = scxg_key(facts, tun, now);
	place->slice = scxg_slice(facts->class_id, facts->game_active, tun);
	return 0;
}

/* ---- who gives way ---------------------------------------------------------------------------- */

static __always_inline void tell(u16 type, u64 now, u64 value)
{
	struct scxg_event *ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);

	if (!ev) {
		struct scxg_cpu_stats *stats = my_stats();

		if (stats)
			stats->events_lost++;
		return;
	}
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->version = SCXG_ABI_VERSION;
	ev->type = type;
	ev->generation = generation;
	ev->time_ns = now;
	ev->value = value;
	bpf_ringbuf_submit(ev, 0);
}

/* Of two CPUs that chose the same victim at once, one looks for another. */
static __always_inline bool claim_kick(struct cpu_ctx *cc, u64 kicked, s32 cpu, u64 now)
{
	if (__sync_val_compare_and_swap(&cc->last_kick, kicked, now) != kicked)
		return false;
	if (now >= cc->kicks_since + 1000 * SCXG_NS_PER_MS) {
		cc->kicks_since = now;
		cc->kicks = 0;
	}
	if (++cc->kicks == storm_kicks)
		tell(SCXG_EV_PREEMPT_STORM, now, cpu);
	return true;
}

/* What a search for a victim goes by. */
struct search {
	struct scxg_facts facts;
	u64 now;
	u64 min_gap;
	s32 cpu; /* looked at first */
	u32 rounds;
};

/* How gladly what runs on `cpu` gives way; 0 not at all. Global, so that a search for a victim is one way, not many. */
__noinline u32 gives_way_on(struct task_struct *p __arg_trusted, s32 cpu,
			    const struct search *how __arg_nonnull)
{
	struct cpu_ctx *cc = cpu_ctx_of(cpu);
	struct scxg_running r;
	u64 ran, since;

	if (!cc || !cc->run_since || !bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
		return 0;
	ran = how->now - scxg_min(cc->run_since, how->now);
	r.burst = cc->burst_before + ran;
	r.debt = scxg_debt_ran(cc->debt_before, ran);
	r.class_id = cc->class_id;
	r.is_short = cc->is_short;
	r.is_kthread = cc->is_kthread;
	since = how->now - scxg_min(cc->last_kick, how->now);
	return scxg_after_kick(scxg_gives_way(&how->facts, &r), since,
			       cc->last_kick >= cc->run_since, how->min_gap);
}

/* The CPU, of a few that are looked at, whose task gives way most gladly; -1 if none does. */
__noinline int best_victim(struct task_struct *p __arg_trusted,
			   const struct search *how __arg_nonnull)
{
	/* What is carried from one round to the next is in memory: as locals, older verifiers walk every value. */
	struct cpu_ctx *me = cpu_ctx_of(bpf_get_smp_processor_id());
	u32 i;

	if (!me)
		return -1;
	me->pick_score = 0;
	bpf_for(i, 0, how->rounds)
	{
		s32 cpu = how->cpu + i;
		struct cpu_ctx *cc;
		u64 kicked;
		u32 score;

		if (cpu >= (s32)nr_cpus)
			cpu -= nr_cpus;
		cc = cpu_ctx_of(cpu);
		kicked = cc ? cc->last_kick : 0; /* before it is judged by it */
		score = gives_way_on(p, cpu, how);
		if (score > me->pick_score) {
			me->pick_score = score;
			me->pick = cpu;
			me->pick_kicked = kicked;
		}
		if (scxg_stays(score) && !i) /* at home */
			break;
	}
	return me->pick_score ? me->pick : -1;
}

/* A victim that nobody else takes meanwhile; -1 if there is none. */
__noinline int find_victim(struct task_struct *p __arg_trusted,
			   const struct search *how __arg_nonnull)
{
	struct cpu_ctx *me = cpu_ctx_of(bpf_get_smp_processor_id()), *cc;
	s32 cpu;
	u32 i;

	if (!me)
		return -1;
	bpf_for(i, 0, KICK_TRIES)
	{
		cpu = best_victim(p, how);
		cc = cpu_ctx_of(cpu);
		if (cpu < 0 || !cc)
			return -1;
		if (claim_kick(cc, me->pick_kicked, cpu, how->now))
			return cpu;
	}
	return -1;
}

static __always_inline struct search search_for(s32 cpu, u32 rounds, const struct view *v)
{
	return (struct search){
	    .facts = v->facts,
	    .now = v->now,
	    .min_gap = scxg_min(v->tun->value[SCXG_TUN_PREEMPT_MIN_US], SCXG_MAX_PREEMPT_MIN_US) *
		       SCXG_NS_PER_US,
	    .cpu = cpu,
	    .rounds = rounds,
	};
}

/* ---- wake-up -------------------------------------------------------------------------------- */

/* It waits from now on, in this place. */
static __always_inline void queued(struct view *v, const struct place *place)
{
	u32 class_id = v->facts.class_id;

	if (v->tc) {
		v->tc->key = place->key;
		v->tc->slice = place->slice;
		v->tc->used = 0;
		v->tc->queued_ns = v->now;
	}
	if (class_id < SCXG_NR_CLASSES)
		v->stats->enqueues[class_id]++;
	if (v->facts.window_open)
		v->stats->boosted++;
}

/* It is whom that CPU would take now, and somebody gives way there: neither a queue nor a kick is needed. */
static __always_inline void goes_there(struct task_struct *p, struct cpu_ctx *cc,
				       const struct place *place, const struct view *v, u64 dsq,
				       u64 enq_flags)
{
	u32 class_id = v->facts.class_id;

	if (class_id < SCXG_NR_CLASSES)
		v->stats->preempt_kicks[class_id]++;
	cc->handed_key = place->key;
	scxg_insert(p, dsq, place->slice, enq_flags | scxg_enum(scx_enq_flags, SCX_ENQ_PREEMPT));
}

/*
 * A wake-up onto the CPU of somebody who gives way, at once: enqueue would do the same, later, and does where somebody
 * has to be first there.
 */
static __always_inline void take_over(struct task_struct *p, struct view *v, s32 victim, u64 kicked)
{
	struct cpu_ctx *cc = cpu_ctx_of(victim);
	struct place place;

	if (!cc || find_place(&v->facts, v->now, &place) ||
	    !goes_first(cc, victim, place.key, v->now) || !claim_kick(cc, kicked, victim, v->now))
		return;
	queued(v, &place);
	goes_there(p, cc, &place, v, scxg_enum(scx_dsq_id_flags, SCX_DSQ_LOCAL), 0);
}

/*
 * A light task stays with the light task that wakes it and is about to sleep: neither a queue, nor a second CPU, nor
 * another callback between them. Not past a task that waits for longer than the lead.
 */
static __always_inline bool hand_over(struct task_struct *p, s32 here, struct view *v)
{
	struct cpu_ctx *cc = cpu_ctx_of(here);
	struct place place;

	if (!cc || !v->tc || !cc->is_short || nr_local(here) > 0 ||
	    !bpf_cpumask_test_cpu(here, p->cpus_ptr))
		return false;
	if (find_place(&v->facts, v->now, &place) ||
	    !scxg_may_hand_over(place.key, earliest_key(here, v->now)))
		return false;
	queued(v, &place);
	cc->handed_key = place.key;
	scxg_insert(p, scxg_enum(scx_dsq_id_flags, SCX_DSQ_LOCAL), place.slice, 0);
	return true;
}

/* Who gives way at home is taken over there, if need be by enqueue. */
static __always_inline bool stays_home(struct task_struct *p, struct view *v, struct cpu_ctx *home,
				       s32 prev_cpu)
{
	u64 kicked = home->last_kick;
	struct search how;

	if (!home->run_since)
		return false;
	see_window(v);
	how = search_for(prev_cpu, 1, v);
	if (!scxg_stays(gives_way_on(p, prev_cpu, &how)))
		return false;
	take_over(p, v, prev_cpu, kicked);
	return true;
}

SEC("struct_ops/scxg_select_cpu")
s32 BPF_PROG(scxg_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct view v = {};
	bool is_idle = false;
	struct search how;
	struct cpu_ctx *home = cpu_ctx_of(prev_cpu), *me;
	s32 cpu, here = bpf_get_smp_processor_id();
	u32 class_id;

	if (!home || !look(&v, p))
		return scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);
	class_id = v.facts.class_id;
	/* A waker of the game goes on working after the wake-up: its CPU is not about to be free. */
	if (scxg_favoured(class_id)) {
		wake_flags &= ~scxg_enum(scx_wake_flags, SCX_WAKE_SYNC);
		if (stays_home(p, &v, home, prev_cpu))
			return prev_cpu;
	}
	cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);
	if (is_idle) {
		if (v.tc) {
			v.tc->queued_ns = v.now;
			v.tc->key = 0;
		}
		if (class_id < SCXG_NR_CLASSES)
			v.stats->idle_inserts[class_id]++;
		/* A CPU that wakes up already takes what it finds first: the game does not wait for that to end. */
		scxg_insert(p, scxg_enum(scx_dsq_id_flags, SCX_DSQ_LOCAL), SCXG_SLICE_MAX_NS,
			    scxg_favoured(class_id) ? scxg_enum(scx_enq_flags, SCX_ENQ_PREEMPT)
						    : 0);
		return cpu;
	}
	if (scxg_favoured(class_id)) {
		see_window(&v);
		how = search_for(prev_cpu, scxg_min(nr_cpus, PREEMPT_CANDIDATES), &v);
		me = cpu_ctx_of(here);
		if (!me || best_victim(p, &how) < 0)
			return cpu;
		take_over(p, &v, me->pick, me->pick_kicked);
		return me->pick;
	}
	if (v.facts.debt >= SCXG_DEBT_LIGHT_NS)
		return cpu;
	if ((wake_flags & scxg_enum(scx_wake_flags, SCX_WAKE_SYNC)) && hand_over(p, here, &v))
		return here;
	/* It finds a hog at home as the game does; there is no idle CPU. */
	if (scxg_can_kick() && home->debt_before >= SCXG_DEBT_HOG_NS &&
	    stays_home(p, &v, home, prev_cpu))
		return prev_cpu;
	return cpu;
}

static __always_inline s32 home_cpu(const struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p);

	if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
		return cpu;
	cpu = bpf_cpumask_first(p->cpus_ptr);
	return cpu < (s32)nr_cpus ? cpu : scx_bpf_task_cpu(p);
}

/* A CPU that went idle between select_cpu and the insert would sleep beside a full queue. */
static __always_inline void wake_idle_cpu(struct task_struct *p)
{
	s32 idle = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (idle >= 0)
		scxg_kick(idle, scxg_enum(scx_kick_flags, SCX_KICK_IDLE));
}

/* Preempted within its slice, a task that does not wake up keeps its place for the rest of it. */
static __always_inline bool keeps_place(const struct task_ctx *tc)
{
	return tc && tc->key && tc->used + SCXG_SLICE_REST_NS < tc->slice;
}

/* Who keeps its place, apart from enqueue and short: who preempted it waits for this. Not where there is more to decide. */
static __always_inline bool comes_back(struct task_struct *p, u64 enq_flags)
{
	struct scxg_sched_state *state = state_get();
	struct scxg_cpu_stats *stats = my_stats();
	struct task_ctx *tc;
	u32 class_id;

	if ((enq_flags & scxg_enum(scx_enq_flags, SCX_ENQ_WAKEUP)) || !state || !stats ||
	    !scxg_can_kick() || bound_to_one_cpu(p))
		return false;
	tc = ctx_fresh(p, scxg_control());
	if (!keeps_place(tc))
		return false;
	class_id = class_now(tc, state);
	if (scxg_favoured(class_id))
		return false;
	tc->slice -= tc->used;
	tc->used = 0;
	if (!tc->queued_ns)
		tc->queued_ns = tc->stopped_ns;
	if (class_id < SCXG_NR_CLASSES)
		stats->enqueues[class_id]++;
	scxg_insert_vtime(p, llc_dsq(home_cpu(p)), tc->slice, tc->key, enq_flags);
	wake_idle_cpu(p);
	return true;
}

SEC("struct_ops/scxg_enqueue")
void BPF_PROG(scxg_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct view v = {};
	struct search how;
	struct place place = {.key = ~0ULL, .slice = SCXG_SLICE_MAX_NS};
	u32 class_id;
	bool bound, wakes, keeps;
	s32 cpu, idle, victim;
	struct cpu_ctx *cc;

	if (comes_back(p, enq_flags))
		return;
	if (!look(&v, p))
		goto lost;
	class_id = v.facts.class_id;
	wakes = enq_flags & scxg_enum(scx_enq_flags, SCX_ENQ_WAKEUP);
	bound = bound_to_one_cpu(p);
	cpu = bound ? scx_bpf_task_cpu(p) : home_cpu(p);
	see_window(&v);
	keeps = !wakes && keeps_place(v.tc);
	/* A window may give the game a better place than the one it keeps. */
	if ((!keeps || scxg_favoured(class_id)) && find_place(&v.facts, v.now, &place))
		goto lost;
	if (keeps) {
		place.key = scxg_min(place.key, v.tc->key);
		place.slice = scxg_min(place.slice, v.tc->slice - v.tc->used);
	}
	queued(&v, &place);

	if (bound) {
		/* select_cpu was not called for it, so its CPU may well be idle. */
		if (scx_bpf_test_and_clear_cpu_idle(cpu)) {
			if (class_id < SCXG_NR_CLASSES)
				v.stats->idle_inserts[class_id]++;
			scxg_insert(p, scxg_enum(scx_dsq_id_flags, SCX_DSQ_LOCAL),
				    SCXG_SLICE_MAX_NS, enq_flags);
			return;
		}
	} else if (!scxg_can_kick()) {
		/* No kick on this kernel: an idle CPU is claimed first and handed the task. */
		idle = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
		if (idle >= 0) {
			scxg_insert(p, scxg_enum(scx_dsq_id_flags, SCX_DSQ_LOCAL_ON) | idle,
				    SCXG_SLICE_MAX_NS, enq_flags);
			return;
		}
	}

	victim = -1;
	if (scxg_favoured(class_id) || class_id == SCXG_CLASS_KTHREAD ||
	    (wakes && scxg_can_kick() && is_next(cpu, place.key))) {
		how = search_for(cpu, bound ? 1 : scxg_min(nr_cpus, PREEMPT_CANDIDATES), &v);
		victim = find_victim(p, &how);
	}
	cc = victim >= 0 ? cpu_ctx_of(victim) : NULL;
	/* Without a kick it is the only lever there is; last_kick keeps it to one per CPU and preempt_min_us. */
	if (cc && (!scxg_can_kick() || goes_first(cc, victim, place.key, v.now))) {
		goes_there(p, cc, &place, &v,
			   scxg_enum(scx_dsq_id_flags, SCX_DSQ_LOCAL_ON) | victim, enq_flags);
		return;
	}

	if (bound) {
		cc = cpu_ctx_of(cpu);
		if (cc)
			cc->own = 1;
	}
	scxg_insert_vtime(p, bound ? cpu_dsq(cpu) : llc_dsq(cpu), place.slice, place.key,
			  enq_flags);
	if (victim >= 0) {
		if (class_id < SCXG_NR_CLASSES)
			v.stats->preempt_kicks[class_id]++;
		scxg_kick(victim, scxg_enum(scx_kick_flags, SCX_KICK_PREEMPT));
		return;
	}
	if (!bound)
		wake_idle_cpu(p);
	return;
lost:
	/* Unreachable with array maps, but a task must never be lost. */
	scxg_insert(p, scxg_enum(scx_dsq_id_flags, SCX_DSQ_LOCAL), SCXG_SLICE_MAX_NS, enq_flags);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

/* Whether this CPU's own queue goes before the shared one. */
static __always_inline bool own_first(struct cpu_ctx *cc, u64 own, u64 shared)
{
	u64 head = 0;

	if (!cc->own)
		return false;
	if (scxg_can_peek())
		head = head_key(own);
	else if (scx_bpf_dsq_nr_queued(own) <= 0)
		head = ~0ULL;
	if (head == ~0ULL) {
		cc->own = 0;
		return false;
	}
	if (scxg_can_peek())
		return head <= head_key(shared);
	return scx_bpf_dsq_nr_queued(shared) <= 0 || (cc->flip++ & 1) == 0;
}

/* From another cache, nearest first. */
static __always_inline bool steal(s32 cpu, u64 shared)
{
	struct scxg_cpu_stats *stats;
	u32 mine = shared - DSQ_LLC_BASE, i;

	if (nr_llcs <= 1)
		return false;
	bpf_for(i, 1, nr_llcs)
	{
		u32 llc = mine + i < nr_llcs ? mine + i : mine + i - nr_llcs;

		if (scxg_move_to_local(DSQ_LLC_BASE + llc)) {
			stats = stats_of(cpu);
			if (stats)
				stats->steals++;
			return true;
		}
	}
	return false;
}

/*
 * One bound for all caches: the earliest head of the others goes first once it leads by SCXG_STEAL_LEAD_NS. The
 * earliest, not the nearest: else a busy near cache would keep this CPU from one that waits longer.
 */
static __always_inline bool take_overdue(s32 cpu, struct cpu_ctx *cc, u64 own, u64 shared)
{
	u64 near, far_key = ~0ULL, far = 0, key;
	struct scxg_cpu_stats *stats;
	u64 now;
	u32 i;

	if (nr_llcs <= 1 || !scxg_can_peek())
		return false;
	/* Now and then, so that a decision costs no more with many caches than with one. */
	now = bpf_ktime_get_ns();
	if (now - cc->far_look < SCXG_FAR_LOOK_NS)
		return false;
	cc->far_look = now;
	near = scxg_min(head_key(shared), head_key(own));
	bpf_for(i, 0, nr_llcs)
	{
		if (DSQ_LLC_BASE + i == shared)
			continue;
		key = head_key(DSQ_LLC_BASE + i);
		if (key < far_key) {
			far_key = key;
			far = DSQ_LLC_BASE + i;
		}
	}
	if (!scxg_overdue(far_key, near) || !scxg_move_to_local(far))
		return false;
	stats = stats_of(cpu);
	if (stats)
		stats->steals++;
	return true;
}

SEC("struct_ops/scxg_dispatch")
void BPF_PROG(scxg_dispatch, s32 cpu, struct task_struct *prev)
{
	u64 own = cpu_dsq(cpu), shared = llc_dsq(cpu);
	struct cpu_ctx *cc = cpu_ctx_of(cpu);
	struct scxg_cpu_stats *stats;

#ifdef SCXG_FAULTS
	struct scxg_sched_state *state = state_get();

	if (fault_stall_ms && state &&
	    bpf_ktime_get_ns() - state->attached_ns > fault_stall_ms * SCXG_NS_PER_MS)
		return;
#endif
	if (!cc) /* it never is */
		return;
	if (take_overdue(cpu, cc, own, shared))
		return;
	if (own_first(cc, own, shared) && scxg_move_to_local(own))
		return;
	if (scxg_move_to_local(shared) || (cc->own && scxg_move_to_local(own)) ||
	    steal(cpu, shared))
		return;
	/* Nobody else: the task that runs goes on, with a slice of ours rather than one the kernel invents. */
	if (prev && (prev->scx.flags & scxg_enum(scx_ent_flags, SCX_TASK_QUEUED))) {
		scxg_set_slice(prev, SCXG_SLICE_MAX_NS);
		stats = stats_of(cpu);
		if (stats)
			stats->keep_running++;
	}
}

SEC("struct_ops/scxg_tick")
void BPF_PROG(scxg_tick, struct task_struct *p)
{
	s32 cpu = bpf_get_smp_processor_id();
	struct scxg_sched_state *state = state_get();
	struct scxg_control *ctl = scxg_control();
	struct scxg_tunables *tun = scxg_tunables();
	struct cpu_ctx *cc = cpu_ctx_of(cpu);
	struct scxg_cpu_stats *stats;
	u64 now;

	if (!state || !ctl || !tun || !cc)
		return;
	now = bpf_ktime_get_ns();
	if (state->timer_failed)
		state->effects = now - scxg_min(ctl->heartbeat_ns, now) <
				 SCXG_HEARTBEAT_STALE_MS * SCXG_NS_PER_MS;
	if (nr_local(cpu) <= 0 && scx_bpf_dsq_nr_queued(llc_dsq(cpu)) <= 0 &&
	    (!cc->own || scx_bpf_dsq_nr_queued(cpu_dsq(cpu)) <= 0))
		return;
	if (now - cc->run_since < scxg_slice(cc->class_id, state->effects && ctl->game_active, tun))
		return;
	/* The long slice of a task that was alone; dispatch refills it if the queue is empty by then. */
	scxg_set_slice(p, 0);
	stats = my_stats();
	if (stats)
		stats->slice_cuts++;
}

/* ---- run and stop --------------------------------------------------------------------------- */

/*
 * When what runs is counted. Of the game and of what answers once it stops: between their wake-up and their first
 * instruction all work is latency. Of others before they run: who takes the CPU from them waits for their stop.
 */
static __always_inline bool counts_at_stop(const struct cpu_ctx *cc)
{
	return cc->is_short || scxg_favoured(cc->class_id);
}

/* Where it ran, and what it waited for. */
static __always_inline void count_run(struct task_ctx *tc, s32 cpu, u32 class_id, u64 since,
				      struct scxg_cpu_stats *stats)
{
	u64 wait;

	stats->runs[class_id]++;
	if (tc->last_cpu >= 0 && tc->last_cpu != cpu)
		stats->migrations[class_id]++;
	tc->last_cpu = cpu;
	if (!tc->queued_ns)
		return;
	wait = since - scxg_min(tc->queued_ns, since);
	tc->queued_ns = 0;
	stats->wait_sum_ns[class_id] += wait;
	stats->wait_max_ns[class_id] = scxg_max(stats->wait_max_ns[class_id], wait);
	stats->wait_hist[class_id][scxg_wait_bucket(wait) & (SCXG_WAIT_BUCKETS - 1)]++;
}

SEC("struct_ops/scxg_running")
void BPF_PROG(scxg_running, struct task_struct *p)
{
	struct scxg_control *ctl = scxg_control();
	struct scxg_sched_state *state = state_get();
	s32 cpu = scx_bpf_task_cpu(p); /* a change of affinity comes from elsewhere */
	struct cpu_ctx *cc = cpu_ctx_of(cpu);
	struct task_ctx *tc = ctx_fresh(p, ctl);
	struct scxg_cpu_stats *stats;
	u32 class_id;

	if (!state || !cc)
		return;
	class_id = class_now(tc, state);
	cc->run_since = bpf_ktime_get_ns();
	cc->class_id = class_id;
	cc->is_kthread = !!(p->flags & PF_KTHREAD);
	cc->burst_before = tc ? tc->burst : 0;
	cc->debt_before = tc ? tc->debt : 0;
	cc->is_short = tc && scxg_answers(tc->maturity, tc->burst, tc->burst_avg);
	if (!tc || counts_at_stop(cc) || class_id >= SCXG_NR_CLASSES)
		return;
	stats = stats_of(cpu);
	if (stats)
		count_run(tc, cpu, class_id, cc->run_since, stats);
}

SEC("struct_ops/scxg_stopping")
void BPF_PROG(scxg_stopping, struct task_struct *p, bool runnable)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct cpu_ctx *cc = cpu_ctx_of(cpu);
	struct scxg_cpu_stats *stats = stats_of(cpu);
	struct task_ctx *tc;
	u64 since, ran, now = bpf_ktime_get_ns();
	u32 class_id;

	if (!cc || !stats)
		return;
	class_id = cc->class_id;
	since = cc->run_since;
	ran = since ? now - scxg_min(since, now) : 0;
	cc->run_since = 0;
	if (class_id < SCXG_NR_CLASSES)
		stats->run_ns[class_id] += ran;
	tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
	if (!tc || tc->generation != generation)
		return;
	if (since && counts_at_stop(cc) && class_id < SCXG_NR_CLASSES)
		count_run(tc, cpu, class_id, since, stats);
	/* All of what it ran, however many slices that was. */
	tc->burst += ran;
	tc->used += ran;
	tc->stopped_ns = now;
	tc->debt = scxg_debt_ran(tc->debt, ran);
	if (runnable)
		return;
	tc->burst_avg = scxg_burst_avg(tc->burst_avg, tc->burst, tc->maturity);
	tc->burst = 0;
	tc->asleep_ns = now;
	if (tc->maturity < 1000)
		tc->maturity++;
}

/* ---- tasks come and go ---------------------------------------------------------------------- */

SEC("struct_ops/scxg_set_weight")
void BPF_PROG(scxg_set_weight, struct task_struct *p, u32 weight)
{
	struct task_ctx *tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);

	/* nice and policy are part of the class: look again at the next enqueue. */
	if (tc)
		tc->class_epoch = ~0ULL;
}

SEC("struct_ops.s/scxg_init_task")
s32 BPF_PROG(scxg_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
#ifdef SCXG_FAULTS
	if (fault_storage)
		return 0;
#endif
	/* Without a context the task runs with safe defaults: refusing it would end the scheduler, or the fork. */
	bpf_task_storage_get(&task_ctxs, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	return 0;
}

SEC("struct_ops/scxg_exit_task")
void BPF_PROG(scxg_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	struct scxg_sched_state *state = state_get();
	struct task_ctx *tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);

	if (state && tc)
		uncount(state, tc);
}

/* ---- housekeeping --------------------------------------------------------------------------- */

/* Tasks that the timer may still look at. Not a local: the verifier would walk every value. */
static volatile s64 scan_left;

/* Age of the oldest of the first tasks in a queue. */
static __always_inline u64 oldest_wait(u64 dsq, u64 now)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	struct task_ctx *tc;
	u64 oldest = 0;

	scan_left = OLDEST_SCAN;
	/* The callback of a sleepable program is in no RCU section, and queue iterators want one. */
	bpf_rcu_read_lock();
	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		while ((p = bpf_iter_scx_dsq_next(&it)) && scan_left-- > 0) {
			tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
			if (tc && tc->queued_ns && now > tc->queued_ns)
				oldest = scxg_max(oldest, now - tc->queued_ns);
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	bpf_rcu_read_unlock();
	return oldest;
}

static int on_timer(void *map, int *key, struct timer_slot *slot)
{
	struct scxg_sched_state *state = state_get();
	struct scxg_control *ctl = scxg_control();
	u64 now = bpf_ktime_get_ns(), queued = 0, oldest = 0;
	bool beating;
	u32 i;

	/* After exit a stale callback must not touch anything, nor come back. */
	if (!state || !ctl || state->stopping)
		return 0;
	state->ticks++;
	beating = now - scxg_min(ctl->heartbeat_ns, now) < SCXG_HEARTBEAT_STALE_MS * SCXG_NS_PER_MS;
	if (state->effects && !beating)
		state->effects_off++;
	state->effects = beating;
	bpf_for(i, 0, nr_llcs)
	{
		s32 waiting = scx_bpf_dsq_nr_queued(DSQ_LLC_BASE + i);

		if (waiting > 0) {
			queued += waiting;
			if (scxg_can_peek())
				oldest = scxg_max(oldest, oldest_wait(DSQ_LLC_BASE + i, now));
		}
	}
	bpf_for(i, 0, nr_cpus)
	{
		s32 waiting = scx_bpf_dsq_nr_queued(DSQ_CPU_BASE + i);

		if (waiting > 0) {
			queued += waiting;
			if (scxg_can_peek())
				oldest = scxg_max(oldest, oldest_wait(DSQ_CPU_BASE + i, now));
		}
	}
	state->nr_queued = queued;
	state->oldest_wait_ns = oldest;
	state->oldest_wait_max_ns = scxg_max(state->oldest_wait_max_ns, oldest);
#ifdef SCXG_FAULTS
	if (fault_error_ms && now - state->attached_ns > fault_error_ms * SCXG_NS_PER_MS) {
		unsigned long long none = 0;
		static char text[] = "error asked for by the test build";

		scx_bpf_error_bstr(text, &none, 0);
	}
#endif
	bpf_timer_start(&slot->timer, SCXG_TIMER_PERIOD_MS * SCXG_NS_PER_MS, 0);
	return 0;
}

static __always_inline long start_timer(void)
{
	struct timer_slot *slot;
	u32 zero = 0;
	long err;

	slot = bpf_map_lookup_elem(&timers, &zero);
	if (!slot)
		return -2;
	err = bpf_timer_init(&slot->timer, &timers, 1 /* CLOCK_MONOTONIC */);
	if (err)
		return err;
	err = bpf_timer_set_callback(&slot->timer, on_timer);
	if (err)
		return err;
#ifdef SCXG_FAULTS
	if (fault_timer)
		return -12;
#endif
	return bpf_timer_start(&slot->timer, SCXG_TIMER_PERIOD_MS * SCXG_NS_PER_MS, 0);
}

SEC("struct_ops.s/scxg_init")
s32 BPF_PROG(scxg_init)
{
	struct scxg_sched_state *state = state_get();
	long err;
	s32 ret;
	u32 i;

	if (!state)
		return -2;
	bpf_for(i, 0, nr_llcs)
	{
		ret = scx_bpf_create_dsq(DSQ_LLC_BASE + i, -1);
		if (ret)
			return ret;
	}
	bpf_for(i, 0, nr_cpus)
	{
		ret = scx_bpf_create_dsq(DSQ_CPU_BASE + i, -1);
		if (ret)
			return ret;
	}
	state->generation = generation;
	state->attached_ns = bpf_ktime_get_ns();
	state->effects = 1;
	/* Without the timer scheduling is right all the same: tick then watches the heartbeat. */
	err = start_timer();
	state->timer_failed = err ? -err : 0;
	return 0;
}

SEC("struct_ops/scxg_exit")
void BPF_PROG(scxg_exit, struct scx_exit_info *ei)
{
	struct scxg_sched_state *state = state_get();
	struct scxg_exit_info *info;
	struct timer_slot *slot;
	u32 zero = 0;

	if (state)
		state->stopping = 1;
	slot = bpf_map_lookup_elem(&timers, &zero);
	if (slot)
		bpf_timer_cancel(&slot->timer);
	info = bpf_map_lookup_elem(&exit_info, &zero);
	if (!info)
		return;
	info->generation = generation;
	info->time_ns = bpf_ktime_get_ns();
	info->code = bpf_core_field_exists(ei->exit_code) ? ei->exit_code : 0;
	bpf_probe_read_kernel_str(info->reason, sizeof(info->reason), ei->reason);
	bpf_probe_read_kernel_str(info->msg, sizeof(info->msg), ei->msg);
	bpf_probe_read_kernel_str(info->dump, sizeof(info->dump), ei->dump);
	info->kind = ei->kind;
	tell(SCXG_EV_SCHED_EXIT, info->time_ns, info->kind);
}

SEC(".struct_ops.link")
struct sched_ext_ops scx_gamer_ops = {
    .select_cpu = (void *)scxg_select_cpu,
    .enqueue = (void *)scxg_enqueue,
    .dispatch = (void *)scxg_dispatch,
    .tick = (void *)scxg_tick,
    .running = (void *)scxg_running,
    .stopping = (void *)scxg_stopping,
    .set_weight = (void *)scxg_set_weight,
    .init_task = (void *)scxg_init_task,
    .exit_task = (void *)scxg_exit_task,
    .init = (void *)scxg_init,
    .exit = (void *)scxg_exit,
    /* Exiting tasks are ours too: the kernel would run them on slices of its own making. */
    .flags = SCX_OPS_ENQ_EXITING,
    .timeout_ms = WATCHDOG_MS,
    .exit_dump_len = SCXG_EXIT_DUMP_LEN,
    .name = "scx_gamer",
};
