/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Search for a victim: the CPU, out of a few, whose running task has the highest preempt score (policy.h) against the
 * waking task. A search changes nothing; claim_kick makes sure that two wakers do not preempt the same CPU at once.
 */
#ifndef SCXG_SCHED_PREEMPT_H
#define SCXG_SCHED_PREEMPT_H

#include "home.bpf.h"

#define PREEMPT_CANDIDATES 8
#define KICK_TRIES 3
#define KICK_WINDOW_NS (1000 * SCXG_NS_PER_MS) /* SCXG_STORM_KICKS is per this time */

/* Claim a CPU whose last kick was at `seen`. Return false if another CPU claimed it meanwhile. */
static __always_inline bool claim_kick(struct cpu_ctx *cc, u64 seen, s32 cpu, u64 now)
{
	if (__sync_val_compare_and_swap(&cc->last_kick, seen, now) != seen)
		return false;
	if (now >= cc->kick_window_start + KICK_WINDOW_NS) {
		cc->kick_window_start = now;
		cc->kicks = 0;
	}
	if (++cc->kicks == storm_kicks)
		emit_event(SCXG_EV_PREEMPT_STORM, now, cpu);
	return true;
}

/* Parameters of a search for a victim. */
struct search {
	struct scxg_facts facts;
	u64 now;
	u64 min_gap;
	s32 cpu; /* first candidate; with a home its place in home_order */
	u32 rounds;
	u32 among; /* candidates are the first so many CPUs */
};

static __always_inline struct search search_init(s32 cpu, u32 rounds, const struct view *v)
{
	return (struct search){
	    .among = nr_cpus,
	    .facts = v->facts,
	    .now = v->now,
	    .min_gap = scxg_min(v->tun->value[SCXG_TUN_PREEMPT_MIN_US], SCXG_MAX_PREEMPT_MIN_US) *
		       SCXG_NS_PER_US,
	    .cpu = nr_home ? (s32)place_of(cpu) : cpu,
	    .rounds = rounds,
	};
}

/* The same for a search at home only. */
static __always_inline struct search search_home_init(s32 cpu, const struct view *v)
{
	struct search how = search_init(cpu, scxg_min(nr_home, PREEMPT_CANDIDATES), v);

	how.among = nr_home;
	if (how.cpu >= (s32)nr_home)
		how.cpu = 0;
	return how;
}

/* Preempt score of the task that runs on `cpu`; 0 if it must not be preempted. Global, as in queue.bpf.h. */
__noinline u32 preempt_score_on(struct task_struct *p __arg_trusted, s32 cpu,
				const struct search *how __arg_nonnull)
{
	bool favoured = scxg_is_favoured(how->facts.class_id), shielded;
	struct cpu_ctx *cc = get_cpu_ctx(cpu);
	struct scxg_running r;
	u64 ran, since, begin;
	u32 score;

	if (!cc || !bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
		return SCXG_SCORE_NONE;
	begin = cc->run_since;
	shielded = is_shielded(cpu);
	if (begin) {
		if (shielded && !favoured && !how->facts.is_kthread && !how->facts.is_urgent)
			return SCXG_SCORE_NONE;
		if (how->now < cc->lent_until)
			return SCXG_SCORE_NONE;
		ran = scxg_sub(how->now, begin);
		r.burst = cc->burst_before + ran;
		r.debt = scxg_debt_ran(cc->debt_before, ran);
		r.class_id = cc->class_id;
		r.is_short = cc->is_short;
		r.is_kthread = cc->is_kthread;
		r.is_urgent = cc->urgent_link;
		score = scxg_preempt_score(&how->facts, &r);
	} else if (shielded && favoured && cc->held) {
		/* Kept free for the game, but perhaps claimed: then no search for an idle CPU finds it. */
		begin = cc->held_since;
		score = SCXG_SCORE_BACKGROUND;
	} else {
		return SCXG_SCORE_NONE;
	}
	since = scxg_sub(how->now, cc->last_kick);
	score = scxg_score_after_kick(score, since, cc->last_kick >= begin, how->min_gap);
	return scxg_score_on_core(score, !has_smt || !is_core_taken(cpu, how->now));
}

/* The candidate with the highest score, which is left in this CPU's best_*; -1 if all score 0. */
__noinline int best_victim(struct task_struct *p __arg_trusted,
			   const struct search *how __arg_nonnull)
{
	/* Carried from round to round in memory, because older verifiers walk every value of a local. */
	struct cpu_ctx *me = get_cpu_ctx(bpf_get_smp_processor_id());
	u32 i;

	if (!me)
		return -1;
	me->best_score = 0;
	bpf_for(i, 0, how->rounds)
	{
		s32 cpu = how->cpu + i;
		struct cpu_ctx *cc;
		u64 last_kick;
		u32 score;

		if (cpu >= (s32)how->among)
			cpu -= how->among;
		if (nr_home)
			cpu = cpu_at(cpu);
		cc = get_cpu_ctx(cpu);
		last_kick = cc ? cc->last_kick : 0; /* read before the score that rests on it */
		score = preempt_score_on(p, cpu, how);
		if (score > me->best_score) {
			me->best_score = score;
			me->best_cpu = cpu;
			me->best_last_kick = last_kick;
		}
		if (scxg_prefers_prev_cpu(score) && !i)
			break;
	}
	return me->best_score ? me->best_cpu : -1;
}

/* Search for a victim and claim it; -1 if there is none. */
__noinline int claim_victim(struct task_struct *p __arg_trusted,
			    const struct search *how __arg_nonnull)
{
	struct cpu_ctx *me = get_cpu_ctx(bpf_get_smp_processor_id()), *cc;
	s32 cpu;
	u32 i;

	if (!me)
		return -1;
	bpf_for(i, 0, KICK_TRIES)
	{
		cpu = best_victim(p, how);
		cc = get_cpu_ctx(cpu);
		if (cpu < 0 || !cc)
			return -1;
		if (claim_kick(cc, me->best_last_kick, cpu, how->now))
			return cpu;
	}
	return -1;
}

#endif /* SCXG_SCHED_PREEMPT_H */
