/* SPDX-License-Identifier: GPL-2.0-only */
/* ops.select_cpu: the CPU of a wake-up. An idle CPU if there is one; else a victim, the waker's CPU, or the queue. */
#ifndef SCXG_SCHED_SELECT_CPU_H
#define SCXG_SCHED_SELECT_CPU_H

#include "place.bpf.h"
#include "lock.bpf.h"

/*
 * Preempt a victim on a core where the game does not compute, rather than take `idle`, whose sibling does. Return the
 * victim's CPU, -1 if there is none.
 */
static __always_inline s32 try_free_core(struct task_struct *p, struct view *v, s32 prev_cpu,
					 s32 idle)
{
	struct cpu_ctx *me = get_cpu_ctx(bpf_get_smp_processor_id());
	struct search how;

	view_read_window(v);
	how = search_init(prev_cpu, scxg_min(nr_cpus, PREEMPT_CANDIDATES), v);
	if (!me || best_victim(p, &how) < 0 || !scxg_prefers_prev_cpu(me->best_score))
		return -1;
	preempt_in_select_cpu(p, v, me->best_cpu, me->best_score, me->best_last_kick);
	if (!hold(idle))
		scxg_kick(idle, scxg_enum(scx_kick_flags, SCX_KICK_IDLE));
	return me->best_cpu;
}

/* Insert into the local DSQ of a claimed idle CPU, which select_cpu returns. */
static __always_inline void insert_idle(struct task_struct *p, const struct view *v)
{
	u32 class_id = v->facts.class_id;

	if (v->tc) {
		v->tc->queued_ns = v->now;
		v->tc->key = 0;
	}
	if (class_id < SCXG_NR_CLASSES)
		v->stats->idle_inserts[class_id]++;
	/* A CPU that is waking up may have taken a task already: the game does not wait for that one. */
	scxg_insert(
	    p, local_dsq(), SCXG_SLICE_MAX_NS,
	    scxg_immed() |
		(scxg_is_favoured(class_id) ? scxg_enum(scx_enq_flags, SCX_ENQ_PREEMPT) : 0));
}

/*
 * Find a CPU of home for a favoured task: idle on a core where the game does not compute, a victim there, idle on another
 * core, any victim. -1 if there is none.
 */
static __always_inline s32 select_home_cpu(struct task_struct *p, struct view *v, s32 prev_cpu)
{
	struct cpu_ctx *me = get_cpu_ctx(bpf_get_smp_processor_id());
	struct search how;
	s32 cpu, victim;

	if (!me)
		return -1;
	cpu = claim_idle(p, prev_cpu, true, IDLE_THREAD, v->now);
	if (cpu < 0) {
		view_read_window(v);
		how = search_home_init(prev_cpu, v);
		victim = best_victim(p, &how);
		if (victim >= 0 && scxg_prefers_prev_cpu(me->best_score)) {
			preempt_in_select_cpu(p, v, victim, me->best_score, me->best_last_kick);
			return victim;
		}
		cpu = claim_idle(p, prev_cpu, true, IDLE_TAKEN_CORE, v->now);
		if (cpu < 0) {
			victim = best_victim(p, &how);
			if (victim < 0 || me->best_score == SCXG_SCORE_OWN)
				return -1; /* elsewhere may be room */
			preempt_in_select_cpu(p, v, victim, me->best_score, me->best_last_kick);
			return victim;
		}
	}
	mark_claimed(cpu, v->now);
	insert_idle(p, v);
	return cpu;
}

SEC("struct_ops/scxg_select_cpu")
s32 BPF_PROG(scxg_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct view v = {};
	bool is_idle = false, homed;
	struct search how;
	struct cpu_ctx *prev, *me;
	s32 cpu, victim, here = bpf_get_smp_processor_id();
	u32 class_id;

	if (!view_init(&v, p))
		return scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);
	if (nr_quotas && held_until(p, 0))
		return prev_cpu; /* enqueue holds it */
	class_id = v.facts.class_id;
	homed = is_home_kept(v.state, v.ctl, v.tun);
	/* A waker of the game goes on working after the wake-up: its CPU is not about to be free. */
	if (scxg_is_favoured(class_id)) {
		wake_flags &= ~scxg_enum(scx_wake_flags, SCX_WAKE_SYNC);
		note_input(&v, here);
		me = get_cpu_ctx(here);
		if (me && me->lent_until > v.now)
			end_lending(p, me);
		if ((!homed || is_home(prev_cpu)) && try_prev_cpu(p, &v, prev_cpu))
			return prev_cpu;
		if (homed) {
			cpu = select_home_cpu(p, &v, prev_cpu);
			if (cpu >= 0)
				return cpu;
		}
	} else if (homed && !scxg_is_light_worker(&v.facts)) {
		cpu = claim_idle(p, prev_cpu, false, IDLE_THREAD, v.now);
		if (cpu >= 0) {
			insert_idle(p, &v);
			return cpu;
		}
	}
	cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);
	if (is_idle && has_smt && scxg_is_favoured(class_id)) {
		victim = is_core_taken(cpu, v.now) ? try_free_core(p, &v, prev_cpu, cpu) : -1;
		if (victim >= 0)
			return victim;
		mark_claimed(cpu, v.now);
	} else if (is_idle && is_shielded(cpu) && !scxg_is_light_worker(&v.facts) && hold(cpu)) {
		cpu = pick_free_cpu(p);
		is_idle = cpu >= 0;
		cpu = is_idle ? cpu : prev_cpu;
	}
	if (is_idle) {
		insert_idle(p, &v);
		return cpu;
	}
	if (scxg_is_favoured(class_id)) {
		view_read_window(&v);
		how = search_init(prev_cpu, scxg_min(nr_cpus, PREEMPT_CANDIDATES), &v);
		if (!me || best_victim(p, &how) < 0)
			return cpu;
		preempt_in_select_cpu(p, &v, me->best_cpu, me->best_score, me->best_last_kick);
		return me->best_cpu;
	}
	if (v.facts.debt >= SCXG_DEBT_LIGHT_NS)
		return cpu;
	if ((wake_flags & scxg_enum(scx_wake_flags, SCX_WAKE_SYNC)) &&
	    insert_sync_wakeup(p, here, &v))
		return here;
	/* No CPU is idle: a light task preempts a hog at its previous CPU as the game does. */
	prev = get_cpu_ctx(prev_cpu);
	if (scxg_can_kick() && prev && prev->debt_before >= SCXG_DEBT_HOG_NS &&
	    try_prev_cpu(p, &v, prev_cpu))
		return prev_cpu;
	return cpu;
}

#endif /* SCXG_SCHED_SELECT_CPU_H */
