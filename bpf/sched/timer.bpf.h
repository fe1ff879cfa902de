/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Housekeeping timer: watches the heartbeat and measures the queues. Scheduling is correct without it. A second timer
 * gives back the tasks that wait for a quota; without it there are no quotas.
 */
#ifndef SCXG_SCHED_TIMER_H
#define SCXG_SCHED_TIMER_H

#include "enqueue.bpf.h"
#include "quota.bpf.h"

#define OLDEST_SCAN 256 /* queued tasks that one timer pass reads, per queue */

#ifndef CLOCK_MONOTONIC
#define CLOCK_MONOTONIC 1 /* include/uapi/linux/time.h */
#endif

struct timer_slot {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, struct timer_slot);
} timers SEC(".maps");

enum timer_index {
	TIMER_HOUSEKEEPING = 0,
	TIMER_RELEASE = 1,
};

static __always_inline struct timer_slot *get_timer_slot(u32 index)
{
	return bpf_map_lookup_elem(&timers, &index);
}

/* Tasks that the pass may still read. Not a local, because the verifier would walk every value of it. */
static volatile s64 scan_left;

/* Age of the oldest of a DSQ's first OLDEST_SCAN tasks. */
static __always_inline u64 oldest_wait(u64 dsq, u64 now)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	struct task_ctx *tc;
	u64 oldest = 0;

	scan_left = OLDEST_SCAN;
	/* The timer of a sleepable program runs outside an RCU section, and DSQ iterators need one. */
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

/* Adds the tasks of a DSQ to @queued, and the age of its oldest to @oldest if that is more. */
static __always_inline void count_queue(u64 dsq, u64 now, u64 *queued, u64 *oldest)
{
	s32 waiting = scx_bpf_dsq_nr_queued(dsq);

	if (waiting <= 0)
		return;
	*queued += waiting;
	if (scxg_can_peek())
		*oldest = scxg_max(*oldest, oldest_wait(dsq, now));
}

/* ---- quotas ------------------------------------------------------------------------------------- */

#define RELEASE_SCAN 4096		    /* held tasks that one pass looks at */
#define RELEASE_GAP_NS (5 * SCXG_NS_PER_MS) /* between two passes, at most */
/* The passes go on for so long after the last held task. */
#define RELEASE_LINGER_NS (300 * SCXG_NS_PER_MS)

static volatile s64 release_left;
static u64 last_held_ns; /* when a pass last saw a held task */
static u64 seen_epoch;	 /* groups_epoch and class_epoch of the last pass */

/* Give a held task its place in the queue. To the shared one, because has_pinned is guarded by the CPU's lock. */
static __always_inline void release(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 now)
{
	struct task_ctx *tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
	struct scxg_cpu_stats *stats = this_cpu_stats();
	s32 idle;
	u64 held;

	if (!tc || !stats)
		return;
	held = scxg_sub(now, tc->held_ns);
	scx_bpf_dsq_move_set_vtime(it, tc->key + held);
	if (!scx_bpf_dsq_move_vtime(it, p, llc_dsq(queue_cpu(p)), 0))
		return;
	tc->key += held;
	tc->queued_ns = now;
	stats->quota_held_ns += held;
	/*
	 * Not kick_idle_cpu: a global function has no RCU section here. The kernel picks a core that idles
	 * first, which is not shielded.
	 */
	idle = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (idle >= 0)
		scxg_kick(idle, scxg_enum(scx_kick_flags, SCX_KICK_IDLE));
}

/* Release the tasks whose time has come; all that may run where quotas or classes changed. Return when to look again. */
static __always_inline u64 release_held(u64 now, bool changed)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	u64 next = now + RELEASE_GAP_NS;

	release_left = RELEASE_SCAN;
	bpf_rcu_read_lock(); /* as in oldest_wait */
	if (!bpf_iter_scx_dsq_new(&it, DSQ_HELD, 0)) {
		while ((p = bpf_iter_scx_dsq_next(&it)) && release_left-- > 0) {
			if (p->scx.dsq_vtime <= now || (changed && !held_until(p, 0))) {
				release(&it, p, now);
			} else if (!changed) {
				next = scxg_min(next, p->scx.dsq_vtime);
				break;
			}
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	bpf_rcu_read_unlock();
	return next;
}

static int on_release(void *map, int *key, struct timer_slot *slot)
{
	struct scxg_sched_state *state = get_sched_state();
	struct scxg_control *ctl = scxg_control();
	u64 now = bpf_ktime_get_ns(), next = now + RELEASE_GAP_NS, epoch;

	if (!scxg_can_move() || !state || !ctl || state->stopping)
		return 0;
	if (scx_bpf_dsq_nr_queued(DSQ_HELD) > 0) {
		epoch = groups_epoch + ctl->class_epoch;
		next = release_held(now, epoch != seen_epoch);
		seen_epoch = epoch;
		last_held_ns = now;
	} else if (now - last_held_ns > RELEASE_LINGER_NS) {
		return 0;
	}
	bpf_timer_start(&slot->timer, scxg_max(next - now, SCXG_HOLD_MIN_NS), 0);
	return 0;
}

/* From the housekeeping timer: nobody else sees a task that was held while the passes ended. */
static __always_inline void start_release(u64 now)
{
	struct timer_slot *slot = get_timer_slot(TIMER_RELEASE);

	if (slot && now - last_held_ns > RELEASE_LINGER_NS / 2 &&
	    scx_bpf_dsq_nr_queued(DSQ_HELD) > 0)
		bpf_timer_start(&slot->timer, 0, 0);
}

static int on_timer(void *map, int *key, struct timer_slot *slot)
{
	struct scxg_sched_state *state = get_sched_state();
	struct scxg_control *ctl = scxg_control();
	u64 now = bpf_ktime_get_ns(), oldest = 0, queued = 0;
	bool fresh;
	u32 i;

	/* After exit a stale callback must not touch anything, nor restart itself. */
	if (!state || !ctl || state->stopping)
		return 0;
	state->ticks++;
	fresh = scxg_is_heartbeat_fresh(ctl->heartbeat_ns, now);
	if (state->effects && !fresh)
		state->effects_off++;
	state->effects = fresh;
	bpf_for(i, 0, nr_llcs) count_queue(DSQ_LLC_BASE + i, now, &queued, &oldest);
	bpf_for(i, 0, nr_cpus) count_queue(DSQ_CPU_BASE + i, now, &queued, &oldest);
	state->nr_queued = queued;
	state->oldest_wait_ns = oldest;
	state->oldest_wait_max_ns = scxg_max(state->oldest_wait_max_ns, oldest);
	state->oldest_wait_recent_ns = scxg_max(state->oldest_wait_recent_ns, oldest);
	if (scxg_can_move())
		start_release(now);
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

/* Start the timers; 0 or a negative errno. */
static __always_inline long start_timers(void)
{
	struct timer_slot *slot = get_timer_slot(TIMER_HOUSEKEEPING);
	struct timer_slot *held = get_timer_slot(TIMER_RELEASE);
	long err;

	if (!slot || !held)
		return -ENOENT;
	err = bpf_timer_init(&slot->timer, &timers, CLOCK_MONOTONIC);
	if (!err)
		err = bpf_timer_set_callback(&slot->timer, on_timer);
	if (!err && scxg_can_move())
		err = bpf_timer_init(&held->timer, &timers, CLOCK_MONOTONIC);
	if (!err && scxg_can_move())
		err = bpf_timer_set_callback(&held->timer, on_release);
	if (err)
		return err;
#ifdef SCXG_FAULTS
	if (fault_timer)
		return -ENOMEM;
#endif
	return bpf_timer_start(&slot->timer, SCXG_TIMER_PERIOD_MS * SCXG_NS_PER_MS, 0);
}

#endif /* SCXG_SCHED_TIMER_H */
