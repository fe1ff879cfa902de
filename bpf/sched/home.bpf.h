/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The game's home: the CPUs that it is best on (scx_gamer/scheduler/topology.py), fast cores or the die with the large
 * cache. While a game is active its threads and critical programs wake up there and all other tasks elsewhere, as long
 * as there is a choice: home is searched first, for idle CPUs and for victims, and nobody is refused a CPU.
 *
 * Without differences between CPUs the verifier drops all of it, because nr_home is constant. Global functions as in
 * queue.bpf.h.
 */
#ifndef SCXG_SCHED_HOME_H
#define SCXG_SCHED_HOME_H

#include "shield.bpf.h"

#define HOME_TRIES 16 /* CPUs that a search for an idle one looks at */

/* Return true if placement distinguishes between CPUs now. */
static __always_inline bool is_home_kept(const struct scxg_sched_state *state,
					 const struct scxg_control *ctl,
					 const struct scxg_tunables *tun)
{
	return nr_home && state->effects && ctl->game_active && tun->value[SCXG_TUN_HOME];
}

/* Position of a CPU in home_order: below nr_home at home. */
static __always_inline u32 place_of(s32 cpu)
{
	u32 index = cpu;

	barrier_var(index); /* as in llc_dsq */
	return index < SCXG_MAX_CPUS ? home_place[index] : 0;
}

static __always_inline bool is_home(s32 cpu)
{
	return place_of(cpu) < nr_home;
}

static __always_inline s32 cpu_at(u32 place)
{
	barrier_var(place);
	return place < SCXG_MAX_CPUS ? home_order[place] : 0;
}

/* How good a CPU that runs no task of ours is for a waking task. */
enum idle_score {
	IDLE_NONE = 0,	     /* busy, kept free, or not allowed */
	IDLE_TAKEN_CORE = 1, /* the game computes on the other half */
	IDLE_THREAD = 2,
	IDLE_CORE = 3,
	IDLE_LOOK = 4, /* as the least score: claims none */
};

static __always_inline u32 idle_score(struct task_struct *p, s32 cpu, u64 now)
{
	struct cpu_ctx *cc = get_cpu_ctx(cpu), *sibling;

	if (!cc || cc->run_since || cc->held || !bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
		return IDLE_NONE;
	if (!has_smt)
		return IDLE_CORE;
	if (is_core_taken(cpu, now))
		return IDLE_TAKEN_CORE;
	sibling = sibling_ctx(cpu);
	return sibling && sibling->run_since ? IDLE_THREAD : IDLE_CORE;
}

/*
 * Claim an idle CPU at home, or away from it, with at least this score, from @cpu on in the order of home_order; -1 if
 * there is none. The best score seen stays in this CPU's best_score.
 */
__noinline s32 claim_scored(struct task_struct *p __arg_trusted, s32 cpu, bool home, u32 least,
			    u64 now)
{
	/* Carried from round to round in memory, as in best_victim. */
	struct cpu_ctx *me = get_cpu_ctx(bpf_get_smp_processor_id());
	u32 first = home ? 0 : nr_home, end = home ? nr_home : nr_cpus;
	u32 begin = place_of(cpu), i, score;

	if (!me)
		return -1;
	me->best_score = IDLE_NONE;
	if (begin < first || begin >= end)
		begin = first;
	bpf_for(i, 0, scxg_min(end - first, HOME_TRIES))
	{
		u32 place = begin + i;
		s32 candidate = cpu_at(place < end ? place : place - (end - first));

		score = idle_score(p, candidate, now);
		if (score >= least && scx_bpf_test_and_clear_cpu_idle(candidate))
			return candidate;
		if (score > me->best_score)
			me->best_score = score;
	}
	return -1;
}

/* Claim the best idle CPU at home or away with at least this score; -1 if there is none. */
__noinline s32 claim_idle(struct task_struct *p __arg_trusted, s32 cpu, bool home, u32 least,
			  u64 now)
{
	struct cpu_ctx *me = get_cpu_ctx(bpf_get_smp_processor_id());
	s32 found = claim_scored(p, cpu, home, IDLE_CORE, now);

	if (found >= 0 || !me || me->best_score < least)
		return found;
	return claim_scored(p, cpu, home, least, now);
}

#endif /* SCXG_SCHED_HOME_H */
