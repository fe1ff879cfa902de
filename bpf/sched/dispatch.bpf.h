/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ops.dispatch: the next task of a CPU. In this order: an overdue head of another cache, the task that ran before if it
 * goes on for its weight, the earlier head of the CPU's two queues, any task of another cache, and else the task that ran
 * before. ops.tick ends a slice that was granted while nobody waited.
 */
#ifndef SCXG_SCHED_DISPATCH_H
#define SCXG_SCHED_DISPATCH_H

#include "lock.bpf.h"
#include "share.bpf.h"
#include "speed.bpf.h"

/* Return true if the head of the CPU's own queue goes before the head of the shared one. */
static __always_inline bool is_pinned_first(s32 cpu, struct cpu_ctx *cc, u64 own, u64 shared)
{
	u64 head = 0;

	if (!cc->has_pinned)
		return false;
	if (scxg_can_peek())
		head = head_key(own, cpu);
	else if (scx_bpf_dsq_nr_queued(own) <= 0)
		head = NO_KEY;
	if (head == NO_KEY) {
		cc->has_pinned = 0;
		return false;
	}
	if (scxg_can_peek())
		return head <= head_key(shared, cpu);
	return scx_bpf_dsq_nr_queued(shared) <= 0 || (cc->alternate++ & 1) == 0;
}

/* Take a task from another cache, by number beginning with the next. */
static __always_inline bool consume_remote(s32 cpu, u64 shared)
{
	struct scxg_cpu_stats *stats;
	u32 mine = shared - DSQ_LLC_BASE, i;

	if (nr_llcs <= 1)
		return false;
	bpf_for(i, 1, nr_llcs)
	{
		u32 llc = mine + i < nr_llcs ? mine + i : mine + i - nr_llcs;

		if (scxg_move_to_local(DSQ_LLC_BASE + llc)) {
			stats = get_cpu_stats(cpu);
			if (stats)
				stats->steals++;
			return true;
		}
	}
	return false;
}

/*
 * Take the earliest head of the other caches if it leads ours by SCXG_STEAL_LEAD_NS: one bound for all caches. The
 * earliest, not the nearest, because a busy near cache would keep this CPU from a task that waits for longer.
 */
static __always_inline bool consume_overdue(s32 cpu, struct cpu_ctx *cc, u64 own, u64 shared,
					    u64 latest)
{
	u64 near, far_key = NO_KEY, far = 0, key;
	struct scxg_cpu_stats *stats;
	u64 now;
	u32 i;

	if (nr_llcs <= 1 || !scxg_can_peek())
		return false;
	/* Rate-limited, so that a dispatch costs no more with many caches than with one. */
	now = bpf_ktime_get_ns();
	if (now - cc->last_remote_scan < SCXG_REMOTE_SCAN_NS)
		return false;
	cc->last_remote_scan = now;
	near = scxg_min(head_key(shared, cpu), head_key(own, cpu));
	bpf_for(i, 0, nr_llcs)
	{
		if (DSQ_LLC_BASE + i == shared)
			continue;
		key = head_key(DSQ_LLC_BASE + i, cpu);
		if (key < far_key) {
			far_key = key;
			far = DSQ_LLC_BASE + i;
		}
	}
	if (far_key > latest || !scxg_is_overdue(far_key, near) || !scxg_move_to_local(far))
		return false;
	stats = get_cpu_stats(cpu);
	if (stats)
		stats->steals++;
	return true;
}

static __always_inline bool wants_cpu(const struct task_struct *prev)
{
	return prev && prev->scx.flags & scxg_enum(scx_ent_flags, SCX_TASK_QUEUED);
}

/* The previous task goes on, with a slice of ours rather than one the kernel chooses. */
static __always_inline void keep_running(s32 cpu, struct task_struct *prev)
{
	struct scxg_cpu_stats *stats;

	if (!wants_cpu(prev))
		return;
	scxg_set_slice(prev, SCXG_SLICE_MAX_NS);
	stats = get_cpu_stats(cpu);
	if (stats)
		stats->keep_running++;
}

SEC("struct_ops/scxg_dispatch")
void BPF_PROG(scxg_dispatch, s32 cpu, struct task_struct *prev)
{
	u64 own = cpu_dsq(cpu), shared = llc_dsq(cpu);
	struct cpu_ctx *cc = get_cpu_ctx(cpu);
	u64 latest;

#ifdef SCXG_FAULTS
	struct scxg_sched_state *state = get_sched_state();

	if (fault_stall_ms && state &&
	    bpf_ktime_get_ns() - state->attached_ns > fault_stall_ms * SCXG_NS_PER_MS)
		return;
#endif
	if (!cc) /* never, with an array map */
		return;
	if (cc->lent_dsq)
		move_holder(cpu);
	if (wants_cpu(prev) && is_quota_spent(prev, cc))
		prev = NULL; /* SCX_OPS_ENQ_LAST: enqueue holds it */
	latest = latest_key(cpu);
	if (consume_overdue(cpu, cc, own, shared, latest))
		return;
	if (wants_cpu(prev) && differ_weights(cpu) && goes_on(prev, cpu)) {
		keep_running(cpu, prev);
		return;
	}
	if (latest == NO_KEY || has_passing_task(cpu, latest)) {
		if (is_pinned_first(cpu, cc, own, shared) && scxg_move_to_local(own))
			return;
		if (scxg_move_to_local(shared) || (cc->has_pinned && scxg_move_to_local(own)))
			return;
	}
	if (latest != NO_KEY && !is_shield_exempt(cc, bpf_ktime_get_ns()))
		return; /* nobody passes, the previous task neither: SCX_OPS_ENQ_LAST lets the CPU idle */
	if (latest == NO_KEY && consume_remote(cpu, shared))
		return;
	if (nr_home && cc->goes_home)
		return; /* SCX_OPS_ENQ_LAST: enqueue finds it a CPU of home */
	keep_running(cpu, prev);
}

/* Return true if a CPU of home could run @p now: idle, or with a victim. */
__noinline bool has_room_at_home(struct task_struct *p __arg_trusted, s32 cpu)
{
	struct cpu_ctx *me = get_cpu_ctx(cpu);
	struct view v = {};
	struct search how;

	if (!me || !view_init(&v, p))
		return false;
	claim_scored(p, cpu, true, IDLE_LOOK, v.now);
	if (me->best_score >= IDLE_THREAD)
		return true;
	view_read_window(&v);
	how = search_home_init(cpu, &v);
	return best_victim(p, &how) >= 0 && scxg_prefers_prev_cpu(me->best_score);
}

/* Return true if the running thread of the game, which found home full when it woke up, is to go there now. */
static __always_inline bool tick_goes_home(struct task_struct *p, s32 cpu, struct cpu_ctx *cc,
					   const struct scxg_sched_state *state,
					   const struct scxg_control *ctl,
					   const struct scxg_tunables *tun)
{
	if (!is_home_kept(state, ctl, tun) || is_home(cpu) || !scxg_is_favoured(cc->class_id) ||
	    is_pinned(p) || !has_room_at_home(p, cpu))
		return false;
	cc->goes_home = 1;
	return true;
}

SEC("struct_ops/scxg_tick")
void BPF_PROG(scxg_tick, struct task_struct *p)
{
	s32 cpu = bpf_get_smp_processor_id();
	struct scxg_sched_state *state = get_sched_state();
	struct scxg_control *ctl = scxg_control();
	struct scxg_tunables *tun = scxg_tunables();
	struct cpu_ctx *cc = get_cpu_ctx(cpu);
	struct scxg_cpu_stats *stats;
	u64 now, slice;

	if (!state || !ctl || !tun || !cc)
		return;
	now = bpf_ktime_get_ns();
	if (state->timer_failed)
		state->effects = scxg_is_heartbeat_fresh(ctl->heartbeat_ns, now);
	update_speed(cpu, cc, now);
	if (is_quota_spent(p, cc)) {
		scxg_set_slice(p, 0);
		return;
	}
	slice = scxg_slice(cc->class_id, state->effects && ctl->game_active, tun);
	if (shield_tick(cpu, cc, slice, now, state, ctl)) {
		scxg_set_slice(p, 0);
		return;
	}
	if (tick_goes_home(p, cpu, cc, state, ctl, tun)) {
		scxg_set_slice(p, 0);
		stats = this_cpu_stats();
		if (stats)
			stats->home_moves++;
		return;
	}
	if (nr_local(cpu) <= 0 && scx_bpf_dsq_nr_queued(llc_dsq(cpu)) <= 0 &&
	    (!cc->has_pinned || scx_bpf_dsq_nr_queued(cpu_dsq(cpu)) <= 0))
		return;
	if (now - cc->run_since < slice)
		return;
	/* The long slice of a task that was alone; dispatch refills it if the queue is empty by then. */
	scxg_set_slice(p, 0);
	stats = this_cpu_stats();
	if (stats)
		stats->slice_cuts++;
}

/*
 * A task of a higher class takes the CPU: the tasks in its local DSQ go back to enqueue, the preempted one among them.
 * Before 7.1 only. Later kernels do it by themselves for tasks inserted with SCX_ENQ_IMMED and deprecate this callback,
 * so the supervisor leaves it out there.
 */
SEC("struct_ops/scxg_cpu_release")
void BPF_PROG(scxg_cpu_release, s32 cpu, struct scx_cpu_release_args *args)
{
	if (bpf_ksym_exists(scx_bpf_reenqueue_local))
		scx_bpf_reenqueue_local();
}

#endif /* SCXG_SCHED_DISPATCH_H */
