/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ops.enqueue: a task gets its place. In this order: back into the queue after a preemption; an idle CPU; a victim's
 * local DSQ; the queue, with a kick where a CPU should take from it at once.
 */
#ifndef SCXG_SCHED_ENQUEUE_H
#define SCXG_SCHED_ENQUEUE_H

#include "place.bpf.h"
#include "quota.bpf.h"
#include "share.bpf.h"

/* The CPU whose cache @p is queued at. */
static __always_inline s32 queue_cpu(const struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p);

	if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
		return cpu;
	cpu = bpf_cpumask_first(p->cpus_ptr);
	return cpu < (s32)nr_cpus ? cpu : scx_bpf_task_cpu(p);
}

/* A CPU that went idle between select_cpu and the insert would sleep beside a full queue. */
static __always_inline void kick_idle_cpu(struct task_struct *p, bool favoured)
{
	s32 idle = has_smt && !favoured ? pick_free_cpu(p) : scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (idle >= 0)
		scxg_kick(idle, scxg_enum(scx_kick_flags, SCX_KICK_IDLE));
}

/*
 * Claim a CPU for a thread of the game that has to leave its own: an idle core, else the other half of its core, which
 * its stop has just set free. Its data is there, and a task that takes a CPU from the game mostly runs for microseconds,
 * while the other idle CPUs are beside the game's other threads. -1 if both are busy.
 */
static __always_inline s32 claim_beside(struct task_struct *p, bool homed, u64 now)
{
	s32 left = scx_bpf_task_cpu(p), cpu = sibling_of(left);
	struct cpu_ctx *sibling = sibling_ctx(left);
	s32 core;

	if (!sibling)
		return -1;
	core = homed ? claim_idle(p, left, true, IDLE_CORE, now)
		     : scx_bpf_pick_idle_cpu(
			   p->cpus_ptr, scxg_enum(scx_pick_idle_cpu_flags, SCX_PICK_IDLE_CORE));
	if (core < 0 && !sibling->run_since && bpf_cpumask_test_cpu(cpu, p->cpus_ptr)) {
		scx_bpf_test_and_clear_cpu_idle(cpu); /* it may be claimed, as it was held */
		core = cpu;
	}
	if (core >= 0)
		mark_claimed(core, now);
	return core;
}

/*
 * Requeue a preempted task that keeps its place. Apart from the rest of enqueue and short, because the preempting task
 * waits for it. Return false where there is more to decide.
 */
static __always_inline bool requeue_preempted(struct task_struct *p, u64 enq_flags)
{
	struct scxg_sched_state *state = get_sched_state();
	struct scxg_cpu_stats *stats = this_cpu_stats();
	struct task_ctx *tc;
	u32 class_id;

	if ((enq_flags & scxg_enum(scx_enq_flags, SCX_ENQ_WAKEUP)) || !state || !stats ||
	    !scxg_can_kick() || is_pinned(p) || (nr_quotas && held_until(p, 0)))
		return false;
	tc = get_task_ctx(p, scxg_control());
	if (!has_slice_left(tc) || tc->lent_until > tc->stopped_ns)
		return false;
	class_id = effective_class(tc, state);
	if (scxg_is_favoured(class_id))
		return false;
	tc->slice -= tc->used;
	tc->used = 0;
	if (!tc->queued_ns)
		tc->queued_ns = tc->stopped_ns;
	if (class_id < SCXG_NR_CLASSES)
		stats->enqueues[class_id]++;
	scxg_insert_vtime(p, llc_dsq(queue_cpu(p)), tc->slice, tc->key, enq_flags);
	kick_idle_cpu(p, false);
	return true;
}

SEC("struct_ops/scxg_enqueue")
void BPF_PROG(scxg_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct view v = {};
	struct search how;
	struct place place = {.key = NO_KEY, .slice = SCXG_SLICE_MAX_NS};
	u32 class_id;
	bool pinned, wakes, keeps, homed, leaves;
	u64 until;
	s32 cpu, idle, victim;
	struct cpu_ctx *cc;

	if (requeue_preempted(p, enq_flags))
		return;
	if (!view_init(&v, p))
		goto lost;
	class_id = v.facts.class_id;
	wakes = enq_flags & scxg_enum(scx_enq_flags, SCX_ENQ_WAKEUP);
	pinned = is_pinned(p);
	if (pinned && wakes && scxg_is_favoured(class_id)) /* it had no select_cpu */
		note_input(&v, bpf_get_smp_processor_id());
	cpu = pinned ? scx_bpf_task_cpu(p) : queue_cpu(p);
	homed = !pinned && scxg_is_favoured(class_id) && is_home_kept(v.state, v.ctl, v.tun);
	if (homed && !is_home(cpu) && bpf_cpumask_test_cpu(cpu_at(0), p->cpus_ptr))
		cpu = cpu_at(0);
	leaves = has_smt && !pinned && !wakes && scxg_is_favoured(class_id) &&
		 !(enq_flags & (scxg_enum(scx_enq_flags, SCX_ENQ_LAST) |
				scxg_enum(scx_enq_flags, SCX_ENQ_REENQ)));
	view_read_window(&v);
	keeps = !wakes && has_slice_left(v.tc);
	/* A window may give the game an earlier key than the one it keeps. */
	if (!keeps || scxg_is_favoured(class_id))
		find_place(&v.facts, v.tun, v.now, &place);
	if (keeps) {
		place.key = scxg_min(place.key, v.tc->key);
		place.slice = scxg_min(place.slice, v.tc->slice - v.tc->used);
	} else if (v.tc) {
		v.tc->owed = 0; /* it is in the key */
	}
	mark_queued(&v, &place);
	until = nr_quotas ? held_until(p, 0) : 0;
	if (until && v.tc) {
		v.tc->queued_ns = 0; /* this wait is not ours */
		v.tc->held_ns = v.now;
		uncount_weight(v.tc);
		v.stats->quota_holds++;
		scxg_insert_vtime(p, DSQ_HELD, place.slice, until, enq_flags);
		return;
	}

	if (pinned) {
		/* The kernel does not call select_cpu for it, so its CPU may well be idle. */
		if ((!is_shielded(cpu) || scxg_is_favoured(class_id)) &&
		    scx_bpf_test_and_clear_cpu_idle(cpu)) {
			if (class_id < SCXG_NR_CLASSES)
				v.stats->idle_inserts[class_id]++;
			scxg_insert(p, local_dsq(), SCXG_SLICE_MAX_NS, enq_flags | scxg_immed());
			return;
		}
	} else {
		/* A running thread of the game leaves for home; no usable kick, or a real-time task took the CPU. */
		idle = homed && !wakes && !is_home(scx_bpf_task_cpu(p))
			   ? claim_idle(p, cpu, true, IDLE_THREAD, v.now)
			   : -1;
		if (idle < 0 && leaves)
			idle = claim_beside(p, homed, v.now);
		if (idle < 0 &&
		    (!scxg_can_kick() || (enq_flags & scxg_enum(scx_enq_flags, SCX_ENQ_REENQ))))
			idle = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
		if (idle >= 0) {
			/* The stop of a thread of the game has woken the other half: it may have taken a task. */
			scxg_insert(p, local_dsq_on(idle), SCXG_SLICE_MAX_NS,
				    enq_flags | scxg_immed() |
					(leaves ? scxg_enum(scx_enq_flags, SCX_ENQ_PREEMPT) : 0));
			return;
		}
	}

	victim = -1;
	if (scxg_is_favoured(class_id) || class_id == SCXG_CLASS_KTHREAD || v.facts.is_urgent ||
	    scxg_is_light_worker(&v.facts) ||
	    (wakes && scxg_can_kick() && is_queue_head(cpu, place.key))) {
		how = homed ? search_home_init(cpu, &v)
			    : search_init(cpu, pinned ? 1 : scxg_min(nr_cpus, PREEMPT_CANDIDATES),
					  &v);
		victim = claim_victim(p, &how);
		if (victim < 0 && homed && (enq_flags & scxg_enum(scx_enq_flags, SCX_ENQ_LAST))) {
			/* Nobody else is queued here, and home has no room after all. */
			scxg_insert(p, local_dsq(), place.slice, enq_flags);
			return;
		}
		if (victim < 0 && homed) {
			how = search_init(scx_bpf_task_cpu(p),
					  scxg_min(nr_cpus, PREEMPT_CANDIDATES), &v);
			victim = claim_victim(p, &how);
		}
	}
	cc = NULL;
	if (victim >= 0) {
		cc = get_cpu_ctx(bpf_get_smp_processor_id());
		if (cc && v.tc)
			v.tc->key = place.key =
			    scxg_preempting_key(place.key, cc->best_score, v.now);
		cc = get_cpu_ctx(victim);
	}
	/* Without a kick this is the only way to preempt; last_kick limits it to one per CPU and preempt_min_us. */
	if (cc && (!scxg_can_kick() || would_run_first(cc, victim, place.key, v.now))) {
		insert_preempt(p, cc, victim, &place, &v, local_dsq_on(victim), enq_flags);
		return;
	}

	if (pinned) {
		cc = get_cpu_ctx(cpu);
		if (cc)
			cc->has_pinned = 1;
	}
	scxg_insert_vtime(p, pinned ? cpu_dsq(cpu) : llc_dsq(cpu), place.slice, place.key,
			  enq_flags);
	if (victim >= 0) {
		if (class_id < SCXG_NR_CLASSES)
			v.stats->preempt_kicks[class_id]++;
		scxg_kick(victim, scxg_enum(scx_kick_flags, SCX_KICK_PREEMPT));
		return;
	}
	/* Dispatch passed it over for a quota that has paid since: this CPU is about to idle. */
	if (nr_quotas && (enq_flags & scxg_enum(scx_enq_flags, SCX_ENQ_LAST)))
		scxg_kick(scx_bpf_task_cpu(p), scxg_enum(scx_kick_flags, SCX_KICK_IDLE));
	if (!pinned)
		kick_idle_cpu(p, scxg_is_favoured(class_id));
	else if (is_shielded(cpu)) /* it may sleep, claimed; dispatch knows who passes */
		scxg_kick(cpu, scxg_enum(scx_kick_flags, SCX_KICK_IDLE));
	return;
lost:
	/* Unreachable with array maps, but a task must never be lost. */
	scxg_insert(p, local_dsq(), SCXG_SLICE_MAX_NS, enq_flags);
}

#endif /* SCXG_SCHED_ENQUEUE_H */
