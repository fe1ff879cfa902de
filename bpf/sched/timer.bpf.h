/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Housekeeping timer: watches the heartbeat and measures the queues. Scheduling is correct without it, but there are no
 * quotas then, because it starts the passes of release.bpf.h.
 */
#ifndef SCXG_SCHED_TIMER_H
#define SCXG_SCHED_TIMER_H

#include "release.bpf.h"

#define OLDEST_SCAN 256 /* queued tasks that one timer pass reads, per queue */

#ifndef CLOCK_MONOTONIC
#define CLOCK_MONOTONIC 1 /* include/uapi/linux/time.h */
#endif

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
	bpf_rcu_read_lock(); /* as in release_held */
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
