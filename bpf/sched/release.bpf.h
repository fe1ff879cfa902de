/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The end of a wait for a quota: a timer of its own gives held tasks their places in the queues. It runs while there are
 * any, and is started by the housekeeping timer (timer.bpf.h).
 */
#ifndef SCXG_SCHED_RELEASE_H
#define SCXG_SCHED_RELEASE_H

#include "enqueue.bpf.h"

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
	if (!scxg_move_vtime(it, p, llc_dsq(queue_cpu(p)), tc->key + held))
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
	/* The timer of a sleepable program runs outside an RCU section, and DSQ iterators need one. */
	bpf_rcu_read_lock();
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

#endif /* SCXG_SCHED_RELEASE_H */
