/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The policy as arithmetic: no helper, no map, so that the host can compile and test the very same lines.
 *
 * Wall-clock earliest deadline first. A task queued at t carries key = t + rel - credit, with 0 <= rel <= D and
 * 0 <= credit <= W. All keys are on one clock, so they compare across queues and ageing is implicit.
 *
 * No task starves. Take a task queued at t that may run on C CPUs. A task queued after t + D + W has a later key, so
 * only tasks queued by then can run before it. Let N be the runnable tasks that may run on one of its CPUs: each is in
 * a queue at most once, and at the head it runs for at most S, the longest slice rounded up to a tick. Hence
 *
 *	wait <= D + W + L + (ceil(N / C) + 1) * S
 *
 * where a task that comes back within the window is counted by the window itself. L is the order that is given up for
 * speed: a task inserted behind its waker may be later than the head of the queue, and with more than one cache a CPU
 * prefers its own queue to an older head elsewhere, and compares with those once in SCXG_REMOTE_SCAN_NS. Tasks that may
 * not run on a CPU never count in its comparisons. A CPU whose sibling computes for the game leaves later keys in the
 * queue, but no key that is due, as all queued by t + D are; while it idles, the sibling's tick compares for it: one tick
 * of L with SMT. A task that owes for its weight has SCXG_DEADLINE_LIGHT_NS in the place of D if it weighs less than nice 0.
 */
#ifndef SCXG_POLICY_H
#define SCXG_POLICY_H

#include "abi.h"

#define SCXG_NS_PER_US 1000ULL
#define SCXG_NS_PER_MS 1000000ULL

#define SCXG_DEADLINE_MAX_NS (SCXG_DEADLINE_MAX_MS * SCXG_NS_PER_MS) /* D */
#define SCXG_CREDIT_MAX_NS (10 * SCXG_NS_PER_MS)		     /* W */
#define SCXG_SYNC_LEAD_NS SCXG_NS_PER_MS			     /* of L, with one cache all */
#define SCXG_STEAL_LEAD_NS (2 * SCXG_NS_PER_MS)			     /* of L, with more caches */
#define SCXG_REMOTE_SCAN_NS SCXG_NS_PER_MS			     /* of L, with more caches */
#define SCXG_SLICE_MAX_NS (SCXG_SLICE_MAX_MS * SCXG_NS_PER_MS)

/* Values kept by the benchmark; docs/tuning.md has the alternatives and their figures. */
#define SCXG_DEBT_NEW_NS (8 * SCXG_NS_PER_MS)  /* nothing known of the task yet */
#define SCXG_DEBT_MAX_NS (32 * SCXG_NS_PER_MS) /* paid back by 16 ms of sleep */
#define SCXG_DEBT_HOG_NS                                                                           \
	(16 * SCXG_NS_PER_MS) /* from here on a light task may preempt a normal one */
#define SCXG_DEBT_LIGHT_NS (2 * SCXG_NS_PER_MS) /* below this it is light */
#define SCXG_REL_GAME_NS (2 * SCXG_NS_PER_MS)
#define SCXG_REL_CRITICAL_NS (SCXG_NS_PER_MS / 2)
/* Added to normal tasks while a game is active. */
#define SCXG_REL_NORMAL_ACTIVE_NS (24 * SCXG_NS_PER_MS)
#define SCXG_GAME_SLICE_NS (4 * SCXG_NS_PER_MS)
/* A preempted task with less than this left of its slice begins a new one. */
#define SCXG_SLICE_REST_NS (SCXG_NS_PER_MS / 2)
/* A thread with an average below this answers, above it computes. */
#define SCXG_SHORT_BURST_NS (SCXG_NS_PER_MS / 2)
/* A task that ran this long may be preempted by a kernel thread. */
#define SCXG_HOG_BURST_NS (4 * SCXG_NS_PER_MS)
/* A kick is given up after this long (the CPU runs kernel code, or it is virtual and does not run). */
#define SCXG_KICK_PENDING_NS SCXG_NS_PER_MS
/* A thread of the game with bursts below this is not worth the interrupt that keeps its core's other half free. */
#define SCXG_SHIELD_BURST_NS (SCXG_NS_PER_MS / 10)
/* A share of one in so many: of a CPU for one thread in step, of all CPUs for all of those beside the game. */
#define SCXG_URGENT_PART 8
#define SCXG_URGENT_BURST_NS (2 * SCXG_NS_PER_MS) /* of its share, saved up by a thread */
#define SCXG_URGENT_ALL_NS SCXG_NS_PER_MS	  /* the same of all threads, for each CPU */
#define SCXG_URGENT_WAKE_NS (SCXG_NS_PER_MS / 10) /* what a wake-up takes beside its burst */
#define SCXG_URGENT_OWED_NS                                                                        \
	(256 * SCXG_NS_PER_MS) /* the longest time that a share is paid back for */
#define SCXG_BEATS 8	       /* wake-ups in step that make a beat */
#define SCXG_LINKS 8	       /* threads of a chain that are urgent, the one in step among them */
#define SCXG_MATURE 4	       /* sleeps after which the average is believed */
#define SCXG_PRIO_MIN 100      /* static_prio of nice -20 */
#define SCXG_PRIO_BULK 135     /* of nice 15 */
#define SCXG_PRIO_IDLE 139     /* of nice 19 */
#define SCXG_WEIGHT 1024       /* of nice 0 */
#define SCXG_WEIGHT_IDLE 3     /* of SCHED_IDLE; kernel/sched/sched.h, WEIGHT_IDLEPRIO */
#define SCXG_GROUP_WEIGHT 100  /* cpu.weight where none is set */
/* The longest relative deadline of a task with less weight than nice 0 has, while no game is active. */
#define SCXG_DEADLINE_LIGHT_NS (500 * SCXG_NS_PER_MS)

/* The shortest and the longest time for which a task waits for a quota of its cgroup. */
#define SCXG_HOLD_MIN_NS SCXG_NS_PER_MS
#define SCXG_HOLD_MAX_NS (5000 * SCXG_NS_PER_MS)

/* The inputs of the policy about a task that is queued. */
struct scxg_facts {
	u64 burst;     /* ns run since the last voluntary sleep */
	u64 burst_avg; /* ns, mean of the last bursts */
	u64 debt;      /* ns run and not yet slept off */
	u32 maturity;  /* voluntary sleeps seen, saturating */
	u32 class_id;  /* enum scxg_class */
	bool game_active;
	bool window_open; /* any input lane */
	bool is_kthread;
	bool is_bulk;	/* a thread of the game that says itself that it is in no hurry */
	bool is_urgent; /* in step with a clock, within its share */
	s64 owed;	/* ns by which its weight moves its deadline; 0 while a game is active */
};

static inline u64 scxg_min(u64 a, u64 b)
{
	return a < b ? a : b;
}

/*
 * a - b, at least 0. The compiler must not see that the result is a saturating subtraction, which BPF does not have and
 * for which clang makes eight instructions instead of these four.
 */
static inline u64 scxg_sub(u64 a, u64 b)
{
	u64 taken = scxg_min(a, b);

	__asm__("" : "+r"(taken));
	return a - taken;
}

static inline u64 scxg_max(u64 a, u64 b)
{
	return a > b ? a : b;
}

static inline u64 scxg_clamp(u64 value, u64 low, u64 high)
{
	return scxg_min(scxg_max(value, low), high);
}

/* The nearest allowed value of a tunable; 0 for an unknown index. */
static inline u64 scxg_clamp_tunable(u32 index, u64 value)
{
	switch (index) {
	case SCXG_TUN_SLICE_US:
		return scxg_clamp(value, SCXG_MIN_SLICE_US, SCXG_MAX_SLICE_US);
	case SCXG_TUN_BG_SLICE_US:
		return scxg_clamp(value, SCXG_MIN_BG_SLICE_US, SCXG_MAX_BG_SLICE_US);
	case SCXG_TUN_BG_DELAY_MS:
		return scxg_clamp(value, SCXG_MIN_BG_DELAY_MS, SCXG_MAX_BG_DELAY_MS);
	case SCXG_TUN_DEADLINE_CAP_MS:
		return scxg_clamp(value, SCXG_MIN_DEADLINE_CAP_MS, SCXG_MAX_DEADLINE_CAP_MS);
	case SCXG_TUN_BOOST_KEYBOARD_MS:
		return scxg_clamp(value, SCXG_MIN_BOOST_KEYBOARD_MS, SCXG_MAX_BOOST_KEYBOARD_MS);
	case SCXG_TUN_BOOST_MOUSE_MS:
		return scxg_clamp(value, SCXG_MIN_BOOST_MOUSE_MS, SCXG_MAX_BOOST_MOUSE_MS);
	case SCXG_TUN_BOOST_GAMEPAD_MS:
		return scxg_clamp(value, SCXG_MIN_BOOST_GAMEPAD_MS, SCXG_MAX_BOOST_GAMEPAD_MS);
	case SCXG_TUN_PREEMPT_MIN_US:
		return scxg_clamp(value, SCXG_MIN_PREEMPT_MIN_US, SCXG_MAX_PREEMPT_MIN_US);
	case SCXG_TUN_SMT_ISOLATE:
		return scxg_clamp(value, SCXG_MIN_SMT_ISOLATE, SCXG_MAX_SMT_ISOLATE);
	case SCXG_TUN_HOME:
		return scxg_clamp(value, SCXG_MIN_HOME, SCXG_MAX_HOME);
	case SCXG_TUN_CPUPERF:
		return scxg_clamp(value, SCXG_MIN_CPUPERF, SCXG_MAX_CPUPERF);
	default:
		return 0;
	}
}

/* How long a window of this lane stays open after an event, in ns. */
static inline u64 scxg_boost_ns(const struct scxg_tunables *tun, u32 lane)
{
	u64 ms = 0;

	if (lane == SCXG_LANE_KEYBOARD)
		ms = scxg_min(tun->value[SCXG_TUN_BOOST_KEYBOARD_MS], SCXG_MAX_BOOST_KEYBOARD_MS);
	else if (lane == SCXG_LANE_MOUSE)
		ms = scxg_min(tun->value[SCXG_TUN_BOOST_MOUSE_MS], SCXG_MAX_BOOST_MOUSE_MS);
	else if (lane == SCXG_LANE_GAMEPAD)
		ms = scxg_min(tun->value[SCXG_TUN_BOOST_GAMEPAD_MS], SCXG_MAX_BOOST_GAMEPAD_MS);
	return ms * SCXG_NS_PER_MS;
}

static inline bool scxg_is_favoured(u32 class_id)
{
	return class_id == SCXG_CLASS_GAME || class_id == SCXG_CLASS_CRITICAL;
}

/*
 * Debt: the time a task ran, less twice the time it slept. Time in a queue counts as neither, so load does not turn a
 * hog into a light task nor the other way round, and a high rate of wake-ups earns nothing.
 */
static inline u64 scxg_debt_ran(u64 debt, u64 ran)
{
	return scxg_min(scxg_min(debt, SCXG_DEBT_MAX_NS) + scxg_min(ran, SCXG_DEBT_MAX_NS),
			SCXG_DEBT_MAX_NS);
}

static inline u64 scxg_debt_slept(u64 debt, u64 slept)
{
	u64 paid = scxg_min(slept, SCXG_DEBT_MAX_NS) * 2;

	return scxg_sub(debt, paid);
}

/* The weight of a nice value, -20 first, as the kernel's default has it: kernel/sched/core.c, sched_prio_to_weight. */
static inline u32 scxg_weight(u32 static_prio)
{
	static const u32 weights[] = {
	    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
	    9548,  7620,  6100,	 4904,	3906,  3121,  2501,  1991,  1586,  1277,
	    1024,  820,	  655,	 526,	423,   335,   272,   215,   172,   137,
	    110,   87,	  70,	 56,	45,    36,    29,    23,    18,	   15,
	};
	u32 index = scxg_max(static_prio, SCXG_PRIO_MIN) - SCXG_PRIO_MIN;

	return index < sizeof(weights) / sizeof(*weights) ? weights[index] : SCXG_WEIGHT;
}

/* A task that computes, among those that want its CPUs. */
struct scxg_share {
	u32 weight;
	u32 cpus;   /* among which it and its rivals are shared out */
	s64 rivals; /* the sum of w_j - weight of the others */
};

/*
 * What a task owes with a run of `ran` ns, in ns. Tasks that compute have equal deadlines and take turns: one turn of each
 * lies between two of a task. By weight it is w_j / w turns of task j, so the deadline is later by the difference. Turns
 * are not cut, hence a random part of a turn, with which the wait is rounded up as often as it should be. Negative where
 * the others have less weight: they wait then, and only more than a turn of its own makes its deadline earlier.
 */
static inline s64 scxg_owed(s64 owed, u64 ran, const struct scxg_share *share, u64 random)
{
	u64 sum = share->rivals < 0 ? (u64)-share->rivals : (u64)share->rivals, wait;
	s64 most =
	    (s64)((share->weight < SCXG_WEIGHT ? SCXG_DEADLINE_LIGHT_NS : SCXG_DEADLINE_MAX_NS) -
		  SCXG_DEBT_MAX_NS);

	ran = scxg_min(ran, SCXG_DEADLINE_MAX_NS);
	wait = ran * scxg_min(sum, 1ULL << 36) / ((u64)share->weight * share->cpus);
	if (share->rivals > 0)
		owed += (s64)(wait + (ran * (random & 255) >> 8));
	else if (wait > ran)
		owed -= (s64)(wait - ran);
	if (owed > most)
		return most;
	return owed < -(s64)SCXG_DEBT_MAX_NS ? -(s64)SCXG_DEBT_MAX_NS : owed;
}

/* Return true for a thread that answers instead of computing: its bursts are known and short. */
static inline bool scxg_is_responsive(u32 maturity, u64 burst, u64 burst_avg)
{
	return maturity >= SCXG_MATURE && scxg_max(burst, burst_avg) < SCXG_SHORT_BURST_NS;
}

static inline bool scxg_is_short(const struct scxg_facts *f)
{
	return scxg_is_responsive(f->maturity, f->burst, f->burst_avg);
}

/* When a thread woke up, and whether it does so in step. */
struct scxg_beat {
	u64 woke_ns;
	u64 period_ns; /* mean of the intervals in step; 0: none */
	u32 steady;    /* intervals in step, less those that were not, saturating */
};

/*
 * Take a wake-up into a beat. Return true for one that is steady by now: threads that a sound card, a video mode or a
 * timer wakes are, with an interval left out where they are late, and threads that wait for each other are not.
 * Beside the game a thread may wake up again in the first half of a period, because threads that it woke answer it: that
 * counts neither for the beat nor against it.
 */
static inline bool scxg_beats(struct scxg_beat *beat, u64 now, bool beside)
{
	u64 interval = scxg_sub(now, beat->woke_ns), period = beat->period_ns;
	u64 off = interval > period ? interval - period : period - interval;

	if (beside && interval < period / 2)
		return beat->steady >= SCXG_BEATS;
	beat->woke_ns = now;
	if (off <= period >> 3) {
		beat->period_ns = period - (period >> 3) + (interval >> 3);
		if (beat->steady < 2 * SCXG_BEATS)
			beat->steady++;
	} else if (beat->steady) {
		beat->steady--;
	} else {
		beat->period_ns = interval >= SCXG_THREAD_PERIOD_MIN_US * SCXG_NS_PER_US &&
					  interval <= SCXG_THREAD_PERIOD_MAX_US * SCXG_NS_PER_US
				      ? interval
				      : 0;
	}
	return beat->steady >= SCXG_BEATS;
}

/*
 * The place of a waking thread in a chain behind a clock: 1 if it is in step itself, else behind its waker's; 0 for none.
 * What a thread in step wakes is the rest of the same work, so it is as urgent, if it is known. The chain ends, because two
 * threads may wake each other for ever.
 */
static inline u32 scxg_link(const struct scxg_facts *f, bool beats, u32 waker)
{
	if (beats)
		return 1;
	return waker && waker < SCXG_LINKS && f->maturity >= SCXG_MATURE ? waker + 1 : 0;
}

/*
 * A leaky bucket (the virtual scheduling algorithm of ITU-T I.371): `paid` is the time by which a share of one in
 * SCXG_URGENT_PART has paid for all runs so far. Return it after a run of `ran` ns that ends now.
 */
static inline u64 scxg_paid(u64 paid, u64 ran, u64 now)
{
	u64 cost = scxg_min(ran, SCXG_URGENT_OWED_NS) * SCXG_URGENT_PART;

	paid = scxg_clamp(paid, now, now + SCXG_URGENT_OWED_NS);
	return scxg_min(paid + cost, now + SCXG_URGENT_OWED_NS);
}

/* Return true if all threads in step beside the game have left of their share, which pays until `paid`. */
static inline bool scxg_may_all_be_urgent(u64 paid, u64 now)
{
	return paid <= now + SCXG_URGENT_ALL_NS * SCXG_URGENT_PART;
}

/*
 * The time of a core that a run of `ns` takes: half of it where each core has two hardware threads, because beside a busy
 * sibling a thread takes up to twice as long for the same work.
 */
static inline u64 scxg_core_ns(u64 ns, bool smt)
{
	return smt ? ns / 2 : ns;
}

/*
 * Return true if a thread in step, or behind one, is urgent now: beside the game within its share of a core, which pays
 * until `paid`, in the game and for critical programs if it answers as well. Workers of a frame are in step, too, but they
 * are what the game has to wait for.
 */
static inline bool scxg_may_be_urgent(const struct scxg_facts *f, u64 paid, u64 now, bool smt)
{
	u64 burst = scxg_core_ns(f->burst, smt), avg = scxg_core_ns(f->burst_avg, smt);

	if (scxg_is_favoured(f->class_id) ? !scxg_is_responsive(f->maturity, burst, avg)
					  : f->class_id != SCXG_CLASS_NORMAL || f->is_bulk ||
						f->is_kthread || !f->game_active)
		return false;
	return avg <= SCXG_URGENT_BURST_NS &&
	       paid <= now + (SCXG_URGENT_BURST_NS - avg) * SCXG_URGENT_PART;
}

/* Return true for a thread of the game that is known to run too shortly to keep its sibling free. */
static inline bool scxg_is_brief(u32 maturity, u64 burst, u64 burst_avg)
{
	return maturity >= SCXG_MATURE && scxg_max(burst, burst_avg) < SCXG_SHIELD_BURST_NS;
}

/*
 * The latest key that a CPU takes while its sibling computes for the game. The game's own keys are never later. Nor is
 * the key of a task that has waited for its deadline, so the shield delays nobody beyond D.
 */
static inline u64 scxg_latest_shielded_key(u64 now)
{
	return now + SCXG_REL_GAME_NS;
}

/*
 * Return true for a kernel worker that any CPU may run and that does little: page flips, encryption and the queues of
 * drivers are the second half of the game's own requests. It is as urgent as a kernel thread bound to a CPU.
 */
static inline bool scxg_is_light_worker(const struct scxg_facts *f)
{
	return f->is_kthread && f->class_id == SCXG_CLASS_NORMAL && f->debt < SCXG_DEBT_LIGHT_NS &&
	       scxg_max(f->burst, f->burst_avg) < SCXG_REL_GAME_NS;
}

/* Relative deadline in ns, at most D whatever the tunables say. */
static inline u64 scxg_rel(const struct scxg_facts *f, const struct scxg_tunables *tun)
{
	u64 cap = scxg_min(tun->value[SCXG_TUN_DEADLINE_CAP_MS], SCXG_MAX_DEADLINE_CAP_MS) *
		  SCXG_NS_PER_MS;
	u64 delay =
	    scxg_min(tun->value[SCXG_TUN_BG_DELAY_MS], SCXG_MAX_BG_DELAY_MS) * SCXG_NS_PER_MS;
	u64 rel = scxg_min(f->debt, cap);
	/* The debt a second time: computing tasks wait in turn, and with eight of them a CPU for longer than the cap. */
	u64 behind_game = f->game_active ? rel + SCXG_REL_NORMAL_ACTIVE_NS : 0;

	if (f->is_urgent)
		return scxg_min(rel, SCXG_REL_CRITICAL_NS);
	switch (f->class_id) {
	case SCXG_CLASS_KTHREAD:
		return scxg_max(f->burst, f->burst_avg) < SCXG_REL_GAME_NS ? 0 : rel;
	case SCXG_CLASS_GAME:
		return f->window_open ? 0 : scxg_min(rel, SCXG_REL_GAME_NS);
	case SCXG_CLASS_CRITICAL:
		return f->window_open ? 0 : scxg_min(rel, SCXG_REL_CRITICAL_NS);
	case SCXG_CLASS_BACKGROUND:
		if (f->game_active)
			rel += scxg_max(behind_game, delay);
		break;
	default:
		if (scxg_is_light_worker(f))
			return 0;
		/* Bulk work of the game: behind the game's other threads, before the programs beside it. */
		rel += f->is_bulk ? 0 : behind_game;
	}
	return scxg_min(rel, SCXG_DEADLINE_MAX_NS);
}

/*
 * The time that a key lies before now, in ns. The game's queued workers have older keys than its thread that answers
 * the mouse, so while a window is open a deadline of now is not early enough for that thread. Nor is it ever for a thread in
 * step with a clock.
 */
static inline u64 scxg_credit(const struct scxg_facts *f)
{
	return f->is_urgent || (f->window_open && scxg_is_favoured(f->class_id) && scxg_is_short(f))
		   ? SCXG_CREDIT_MAX_NS
		   : 0;
}

static inline u64 scxg_key(const struct scxg_facts *f, const struct scxg_tunables *tun, u64 now)
{
	u64 rel = scxg_rel(f, tun);

	rel = f->owed < 0 ? scxg_sub(rel, (u64)-f->owed) : rel + (u64)f->owed;
	return scxg_sub(now, scxg_credit(f)) + rel;
}

/* The time that a task may run while others wait, in ns; never 0, never above S. */
static inline u64 scxg_slice(u32 class_id, bool game_active, const struct scxg_tunables *tun)
{
	u64 us = tun->value[SCXG_TUN_SLICE_US];

	if (scxg_is_favoured(class_id))
		return SCXG_GAME_SLICE_NS;
	if (class_id == SCXG_CLASS_BACKGROUND && game_active)
		us = tun->value[SCXG_TUN_BG_SLICE_US];
	return scxg_clamp(us, SCXG_MIN_SLICE_US, SCXG_MAX_SLICE_US) * SCXG_NS_PER_US;
}

/* Return true if a CPU takes the earliest head of the other caches before its own; ~0 is an empty queue. */
static inline bool scxg_is_overdue(u64 far_key, u64 near_key)
{
	return far_key != ~0ULL && (near_key == ~0ULL || (near_key > far_key &&
							  near_key - far_key > SCXG_STEAL_LEAD_NS));
}

/* Return true if a light task may run behind its waker, before the head of the queue; ~0 is an empty queue. */
static inline bool scxg_may_insert_sync(u64 key, u64 head_key)
{
	return key <= head_key || key - head_key <= SCXG_SYNC_LEAD_NS;
}

/* The weight of one task of nice 0 in a cgroup, after that of the cgroups below it; as kernel/sched/ext.c has it. */
static inline u64 scxg_group_weight(u64 below, u64 weight)
{
	return scxg_clamp(below * weight / SCXG_GROUP_WEIGHT, 1, SCXG_WEIGHT * 10000);
}

/* The part that a task has of its cgroup's weight, by its own and that of all that compute in it. */
static inline u32 scxg_part_of_group(u64 group_weight, u32 weight, s64 load)
{
	u64 all = load > (s64)weight ? (u64)load : weight;

	return scxg_clamp(group_weight * weight / all, 1, SCXG_WEIGHT * 10000);
}

/* What a run costs a quota: its time, times period / quota, in 1024ths; 0 without a quota, which the kernel gives as ~0. */
static inline u64 scxg_quota_rate(u64 period_us, u64 quota_us)
{
	return quota_us ? (period_us << 10) / quota_us : 0;
}

static inline u64 scxg_quota_cost(u64 ran, u64 rate)
{
	return scxg_min(ran, SCXG_HOLD_MAX_NS) * rate >> 10;
}

/* What a quota pays in advance at most: for one period, and for the burst that it allows. */
static inline u64 scxg_quota_saved(u64 period_us, u64 burst_us, u64 rate)
{
	return (period_us + (burst_us * rate >> 10)) * SCXG_NS_PER_US;
}

/* What a quota has paid at least when a run of `ran` ns ends, which is not charged yet. */
static inline u64 scxg_quota_least(u64 saved, u64 ran, u64 now)
{
	return scxg_sub(now, scxg_min(ran, SCXG_HOLD_MAX_NS) + saved);
}

/* Until when it has paid after that run. */
static inline u64 scxg_quota_until(u64 paid, u64 saved, u64 rate, u64 ran, u64 now)
{
	return scxg_max(paid, scxg_quota_least(saved, ran, now)) + scxg_quota_cost(ran, rate);
}

/* Until when a task waits for a quota that has paid until then; 0 if it may run. */
static inline u64 scxg_hold(u64 until, u64 now)
{
	return until > now + SCXG_HOLD_MIN_NS ? scxg_min(until, now + SCXG_HOLD_MAX_NS) : 0;
}

/* Return true while the supervisor's last heartbeat counts. */
static inline bool scxg_is_heartbeat_fresh(u64 heartbeat_ns, u64 now)
{
	return scxg_sub(now, heartbeat_ns) < SCXG_HEARTBEAT_STALE_MS * SCXG_NS_PER_MS;
}

#define SCXG_SPEED_FULL 1024U /* SCX_CPUPERF_ONE */

/* The speed that a CPU needs that was busy for so much of a window; not 0, which stands for no request. */
static inline u32 scxg_speed(u64 busy, u64 window)
{
	return busy < window ? scxg_max(busy * SCXG_SPEED_FULL / window, 1) : SCXG_SPEED_FULL;
}

/* Mean of the last bursts, weight 1/4 on the newest. */
static inline u64 scxg_burst_avg(u64 avg, u64 burst, u32 maturity)
{
	burst = scxg_min(burst, SCXG_DEADLINE_MAX_NS * 10);
	if (!maturity)
		return burst;
	return avg - (avg >> 2) + (burst >> 2);
}

/* The task that a CPU runs now, as a waking task sees it. */
struct scxg_running {
	u64 burst, debt; /* as of now */
	u32 class_id;
	bool is_short;
	bool is_kthread;
	bool is_urgent;
};

/* How good a victim a running task is: the highest wins. */
enum scxg_score {
	SCXG_SCORE_NONE = 0,  /* must not be preempted */
	SCXG_SCORE_LAST = 1,  /* a thread of the game that works for a frame */
	SCXG_SCORE_OWN = 2,   /* a thread of the game that computes all the time */
	SCXG_SCORE_SHORT = 3, /* soon off the CPU by itself, or kernel code */
	SCXG_SCORE_NORMAL = 4,
	SCXG_SCORE_HOG = 5,
	SCXG_SCORE_BACKGROUND = 6,
	SCXG_SCORE_FREE_CORE =
	    4, /* added where the core's other half does not compute for the game */
};

/*
 * Score of the running task as a victim of the waking task.
 *
 * The game preempts every task that is not its own, computing tasks first. What does little in the game, and the kernel
 * threads that do its requests, preempt a thread of the game that computes all the time, as compilers of shaders do; few of
 * them say so by a nice value. The game's thread that answers the input also preempts its workers while a window is open. A
 * thread in step with a clock preempts as these do, whose ever it is, and is no victim for the time that its share may pay
 * for. A light task without a class preempts a hog.
 */
static inline u32 scxg_preempt_score(const struct scxg_facts *waker, const struct scxg_running *r)
{
	bool hog = r->debt >= SCXG_DEBT_HOG_NS, light = waker->debt < SCXG_DEBT_LIGHT_NS;
	bool leads = scxg_is_favoured(waker->class_id) || waker->is_urgent;
	bool serves = waker->class_id == SCXG_CLASS_KTHREAD || scxg_is_light_worker(waker);

	if (r->class_id == SCXG_CLASS_CRITICAL || r->class_id == SCXG_CLASS_KTHREAD)
		return SCXG_SCORE_NONE;
	if (r->is_urgent && r->burst < SCXG_URGENT_BURST_NS)
		return SCXG_SCORE_NONE;
	if (r->class_id == SCXG_CLASS_GAME) {
		if (r->is_short || !(leads || serves))
			return SCXG_SCORE_NONE;
		if (hog && light)
			return SCXG_SCORE_OWN;
		return leads && (waker->is_urgent || (waker->window_open && scxg_is_short(waker)))
			   ? SCXG_SCORE_LAST
			   : SCXG_SCORE_NONE;
	}
	if (leads) {
		if (r->class_id == SCXG_CLASS_BACKGROUND)
			return SCXG_SCORE_BACKGROUND;
		/* Kernel code keeps the CPU for longer than any program does. */
		if (r->is_short || r->is_kthread)
			return SCXG_SCORE_SHORT;
		return hog ? SCXG_SCORE_HOG : SCXG_SCORE_NORMAL;
	}
	if (serves)
		return r->class_id == SCXG_CLASS_BACKGROUND ? SCXG_SCORE_BACKGROUND
		       : r->burst >= SCXG_HOG_BURST_NS	    ? SCXG_SCORE_HOG
							    : SCXG_SCORE_NONE;
	if (waker->class_id != SCXG_CLASS_NORMAL || !light || !hog)
		return SCXG_SCORE_NONE;
	return r->class_id == SCXG_CLASS_BACKGROUND ? SCXG_SCORE_BACKGROUND : SCXG_SCORE_HOG;
}

/*
 * The score of a CPU that was kicked `since` ns ago. None while the task that was to be preempted still runs, because
 * the CPU has a successor for it already. Within the gap at most the last choice, within a quarter of it none.
 */
static inline u32 scxg_score_after_kick(u32 score, u64 since, bool pending, u64 gap)
{
	if (pending && since < SCXG_KICK_PENDING_NS)
		return SCXG_SCORE_NONE;
	if (since >= gap)
		return score;
	return since >= gap >> 2 ? scxg_min(score, SCXG_SCORE_LAST) : SCXG_SCORE_NONE;
}

/* The score once it is known whether the other half of the victim's core computes for the game. */
static inline u32 scxg_score_on_core(u32 score, bool is_free)
{
	return score >= SCXG_SCORE_NORMAL && is_free ? score + SCXG_SCORE_FREE_CORE : score;
}

/*
 * The key of a task that preempts. Threads of the game that compute wait in its queue, too, with keys that are older than
 * now, and a task that does little is not to wait for all of them in turn.
 */
static inline u64 scxg_preempting_key(u64 key, u32 score, u64 now)
{
	return score == SCXG_SCORE_OWN ? scxg_min(key, scxg_sub(now, SCXG_CREDIT_MAX_NS)) : key;
}

/*
 * Return true if a game thread preempts this victim at its previous CPU even while another CPU is idle: its data is
 * there, an idle CPU takes time to wake up, and a CPU that other tasks used has their deferred work to do (the kernel
 * frees a fork storm's memory in the task that runs next).
 */
static inline bool scxg_prefers_prev_cpu(u32 score)
{
	return score >= SCXG_SCORE_NORMAL + SCXG_SCORE_FREE_CORE;
}

/* ns / 1000 without a division, exact below 2^51 ns (26 days), which is where it stays for longer. */
static inline u64 scxg_us(u64 ns)
{
	u64 high, rest;

	ns = scxg_min(ns, (1ULL << 51) - 1);
	high = ns >> 32;
	/* 2^32 = 4294967 * 1000 + 296; the reciprocal of 125 in 2^-36 is exact below 2^32. */
	rest = (high * 296 + (ns & 0xffffffffULL)) >> 3;
	return high * 4294967 + (rest * 549755814ULL >> 36);
}

/* Bucket of the wait histogram: b counts waits below 2^b us that b - 1 does not; the last takes the rest. */
static inline u32 scxg_wait_bucket(u64 wait_ns)
{
	u64 us = scxg_us(wait_ns);
	u32 bucket = 0;

	if (us >> 16) {
		us >>= 16;
		bucket += 16;
	}
	if (us >> 8) {
		us >>= 8;
		bucket += 8;
	}
	if (us >> 4) {
		us >>= 4;
		bucket += 4;
	}
	if (us >> 2) {
		us >>= 2;
		bucket += 2;
	}
	if (us >> 1) {
		us >>= 1;
		bucket += 1;
	}
	bucket += us != 0;
	return bucket < SCXG_WAIT_BUCKETS ? bucket : SCXG_WAIT_BUCKETS - 1;
}

#endif /* SCXG_POLICY_H */
