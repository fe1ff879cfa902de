/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SMT shield: while a thread of the game computes, the other hardware thread of its core runs the game or idles.
 *
 * running and tick raise the shield on the game's CPU and preempt what the sibling runs. dispatch on the sibling then
 * takes only keys that pass (policy.h), and else holds: it lets the CPU idle beside a queue with tasks. stopping lowers
 * the shield and wakes the sibling. A holding CPU gets no tick, so the tick of the game's CPU looks after its queue.
 *
 * The pairs (shields, held) and (shields, run_since) are each written before the other is read, with a full barrier
 * between (Dekker): either the game sees what the sibling does, or the sibling sees the shield.
 *
 * Without SMT the verifier drops all of it, because has_smt is constant. Global functions as in queue.bpf.h.
 */
#ifndef SCXG_SCHED_SHIELD_H
#define SCXG_SCHED_SHIELD_H

#include "queue.bpf.h"
#include "task.bpf.h"

#define IDLE_TRIES 4 /* idle CPUs beside the game that a search passes over */

static __always_inline s32 sibling_of(s32 cpu)
{
	u32 index = cpu;

	barrier_var(index); /* as in llc_dsq */
	return index < SCXG_MAX_CPUS ? cpu_sibling[index] : cpu;
}

/* State of the sibling; NULL where there is none. */
static __always_inline struct cpu_ctx *sibling_ctx(s32 cpu)
{
	s32 sibling = sibling_of(cpu);

	/* Without these a CPU can neither be woken nor know which tasks pass. */
	if (sibling == cpu || !scxg_can_kick() || !scxg_can_peek())
		return NULL;
	return get_cpu_ctx(sibling);
}

__noinline bool sibling_shields(s32 cpu)
{
	struct cpu_ctx *sibling = sibling_ctx(cpu);

	return sibling && sibling->shields;
}

/* Return true while the sibling of @cpu computes for the game. */
static __always_inline bool is_shielded(s32 cpu)
{
	return has_smt && sibling_shields(cpu);
}

/*
 * Return true if the sibling of @cpu computes for the game, or is about to: threads that wake up together, as workers
 * do, choose their CPUs before the first of them runs.
 */
__noinline bool is_core_taken(s32 cpu, u64 now)
{
	struct cpu_ctx *sibling = sibling_ctx(cpu);

	return sibling && (sibling->shields || (sibling->last_kick >= sibling->run_since &&
						now < sibling->last_kick + SCXG_KICK_PENDING_NS));
}

/* With SMT searches and the sibling know of a claim before the task runs. */
static __always_inline void mark_claimed(s32 cpu, u64 now)
{
	struct cpu_ctx *chosen = has_smt ? get_cpu_ctx(cpu) : NULL;

	if (chosen)
		chosen->last_kick = now;
}

/*
 * Return true if the running task stays beside the game: the game itself, kernel threads that are bound to the CPU, and
 * others as long as they do little.
 */
static __always_inline bool is_shield_exempt(const struct cpu_ctx *cc, u64 now)
{
	if (scxg_is_favoured(cc->class_id) || cc->class_id == SCXG_CLASS_KTHREAD)
		return true;
	return cc->is_kthread &&
	       scxg_debt_ran(cc->debt_before, scxg_sub(now, cc->run_since)) < SCXG_DEBT_LIGHT_NS;
}

/* Return true if the running task may have its turn beside the game. */
static __always_inline bool is_due(const struct cpu_ctx *cc, u64 now)
{
	return is_shield_exempt(cc, now) || (cc->key && cc->key <= scxg_latest_shielded_key(now));
}

/* Mark a shielded CPU as holding, so that the game's stop wakes it. Return false if the shield was lowered meanwhile. */
__noinline bool hold(s32 cpu)
{
	struct cpu_ctx *cc = get_cpu_ctx(cpu);

	if (!cc)
		return false;
	if (!cc->held)
		cc->held_since = bpf_ktime_get_ns();
	__sync_lock_test_and_set(&cc->held, 1);
	if (sibling_shields(cpu))
		return true;
	cc->held = 0;
	return false;
}

/* The latest key that dispatch takes on this CPU now. */
static __always_inline u64 latest_key(s32 cpu)
{
	return is_shielded(cpu) && hold(cpu) ? scxg_latest_shielded_key(bpf_ktime_get_ns())
					     : NO_KEY;
}

/* Return true if a queue of @cpu has a task with a key up to @latest. */
__noinline bool has_passing_task(s32 cpu, u64 latest)
{
	struct cpu_ctx *cc = get_cpu_ctx(cpu);

	return head_key(llc_dsq(cpu), cpu) <= latest ||
	       (cc && cc->has_pinned && head_key(cpu_dsq(cpu), cpu) <= latest);
}

/* Return true if the task that starts to run on @cpu computes for the game from its first instruction on. */
static __always_inline bool is_shielding(const struct cpu_ctx *cc, const struct task_ctx *tc,
					 const struct scxg_sched_state *state,
					 const struct scxg_control *ctl)
{
	const struct scxg_tunables *tun = scxg_tunables();

	return scxg_is_favoured(cc->class_id) && tun && tun->value[SCXG_TUN_SMT_ISOLATE] && ctl &&
	       ctl->game_active && state->effects &&
	       !(tc && scxg_is_brief(tc->maturity, tc->burst, tc->burst_avg));
}

/* Keep the sibling of @cpu free from now on. Return true if a task was preempted for it. */
__noinline bool raise_shield(s32 cpu, u64 now)
{
	struct cpu_ctx *cc = get_cpu_ctx(cpu), *sibling = sibling_ctx(cpu);
	struct scxg_cpu_stats *stats;

	if (!cc || !sibling)
		return false;
	__sync_lock_test_and_set(&cc->shields, 1);
	if (!sibling->run_since || is_due(sibling, now))
		return false;
	stats = get_cpu_stats(cpu);
	if (stats)
		stats->shield_kicks++;
	scxg_kick(sibling_of(cpu), scxg_enum(scx_kick_flags, SCX_KICK_PREEMPT));
	return true;
}

/* The thread of the game on @cpu stops. Return true if the sibling was held, and takes tasks again. */
__noinline bool lower_shield(s32 cpu, u64 now)
{
	struct cpu_ctx *cc = get_cpu_ctx(cpu), *sibling = sibling_ctx(cpu);
	struct scxg_cpu_stats *stats = get_cpu_stats(cpu);

	if (!cc || !sibling)
		return false;
	__sync_lock_test_and_set(&cc->shields, 0);
	if (!sibling->held || !__sync_lock_test_and_set(&sibling->held, 0))
		return false;
	if (stats && !sibling->run_since)
		stats->shield_ns += scxg_sub(now, sibling->held_since);
	scxg_kick(sibling_of(cpu), scxg_enum(scx_kick_flags, SCX_KICK_IDLE));
	return true;
}

/* The task that starts on @cpu raises the shield, or respects the one that was raised while it was on its way. */
static __always_inline void shield_run(s32 cpu, struct cpu_ctx *cc, const struct task_ctx *tc,
				       const struct scxg_sched_state *state,
				       const struct scxg_control *ctl)
{
	struct scxg_cpu_stats *stats;
	u64 now = cc->run_since;

	if (!has_smt)
		return;
	/* Exchanged for the barrier: run_since is written before the sibling's shield is read. */
	__sync_lock_test_and_set(&cc->key, tc ? tc->key : 0);
	if (cc->held && __sync_lock_test_and_set(&cc->held, 0)) {
		stats = get_cpu_stats(cpu);
		if (stats)
			stats->shield_ns += scxg_sub(now, cc->held_since);
	}
	if (is_shielding(cc, tc, state, ctl))
		raise_shield(cpu, now);
	else if (!is_due(cc, now) && is_shielded(cpu))
		scxg_kick(cpu, scxg_enum(scx_kick_flags, SCX_KICK_PREEMPT));
}

/* Return true if the turn of the running task beside the game ends with this tick of its CPU. */
static __always_inline bool shield_tick(s32 cpu, struct cpu_ctx *cc, u64 slice, u64 now,
					const struct scxg_sched_state *state,
					const struct scxg_control *ctl)
{
	struct cpu_ctx *sibling;

	if (!has_smt)
		return false;
	sibling = sibling_ctx(cpu);
	if (!sibling)
		return false;
	if (!cc->shields) {
		if (is_shielding(cc, NULL, state, ctl))
			raise_shield(cpu, now);
	} else if (sibling->held && !sibling->run_since &&
		   has_passing_task(sibling_of(cpu), scxg_latest_shielded_key(now))) {
		scxg_kick(sibling_of(cpu), scxg_enum(scx_kick_flags, SCX_KICK_IDLE));
	}
	return sibling->shields && !is_shield_exempt(cc, now) &&
	       (!is_due(cc, now) || now - cc->run_since >= slice);
}

/*
 * Claim an idle CPU for a task that is not the game's; -1 if there is none. One that is kept free for the game is left
 * claimed, so that the next search does not find it; the end of the shield makes it idle again.
 */
__noinline int pick_free_cpu(struct task_struct *p __arg_trusted)
{
	u32 i;

	bpf_for(i, 0, IDLE_TRIES)
	{
		s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

		if (cpu < 0 || !sibling_shields(cpu) || !hold(cpu))
			return cpu;
	}
	return -1;
}

#endif /* SCXG_SCHED_SHIELD_H */
