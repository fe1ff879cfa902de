/* SPDX-License-Identifier: GPL-2.0-only */
/* Key and slice of a task that is queued, and the ways onto a busy CPU past its queue. */
#ifndef SCXG_SCHED_PLACE_H
#define SCXG_SCHED_PLACE_H

#include "preempt.bpf.h"

struct place {
	u64 key, slice;
};

/* Compute key and slice; return the key. Global, as in queue.bpf.h. */
__noinline u64 find_place(const struct scxg_facts *facts __arg_nonnull,
			  const struct scxg_tunables *tun __arg_nonnull, u64 now,
			  struct place *place __arg_nonnull)
{
	place->key = scxg_key(facts, tun, now);
	place->slice = scxg_slice(facts->class_id, facts->game_active, tun);
	return place->key;
}

/* Return true if a task that was preempted within its slice keeps key and slice for the rest of it. */
static __always_inline bool has_slice_left(const struct task_ctx *tc)
{
	return tc && tc->key && tc->used + SCXG_SLICE_REST_NS < tc->slice;
}

/* Record that the task waits from now on, in this place. */
static __always_inline void mark_queued(struct view *v, const struct place *place)
{
	u32 class_id = v->facts.class_id;

	if (v->tc) {
		v->tc->key = place->key;
		v->tc->slice = place->slice;
		v->tc->used = 0;
		v->tc->queued_ns = v->now;
	}
	if (class_id < SCXG_NR_CLASSES)
		v->stats->enqueues[class_id]++;
	if (v->facts.window_open)
		v->stats->boosted++;
}

/* Insert into the victim's local DSQ with SCX_ENQ_PREEMPT: @p is next there, so no queue and no kick. */
static __always_inline void insert_preempt(struct task_struct *p, struct cpu_ctx *victim, s32 cpu,
					   const struct place *place, const struct view *v, u64 dsq,
					   u64 enq_flags)
{
	u32 class_id = v->facts.class_id;

	if (class_id < SCXG_NR_CLASSES)
		v->stats->preempt_kicks[class_id]++;
	victim->local_head_key = place->key;
	/* The kernel gives back a task with SCX_ENQ_IMMED also where the local DSQ has more than that one. */
	scxg_insert(p, dsq, place->slice,
		    enq_flags | scxg_enum(scx_enq_flags, SCX_ENQ_PREEMPT) |
			(nr_local(cpu) <= 0 ? scxg_immed() : 0));
}

/* Preempt `victim` from select_cpu, which saves a callback. Where @p would not run first, enqueue decides. */
static __always_inline void preempt_in_select_cpu(struct task_struct *p, struct view *v, s32 victim,
						  u32 score, u64 last_kick)
{
	struct cpu_ctx *cc = get_cpu_ctx(victim);
	struct place place;

	if (!cc)
		return;
	find_place(&v->facts, v->tun, v->now, &place);
	place.key = scxg_preempting_key(place.key, score, v->now);
	if (!would_run_first(cc, victim, place.key, v->now) ||
	    !claim_kick(cc, last_kick, victim, v->now))
		return;
	mark_queued(v, &place);
	insert_preempt(p, cc, victim, &place, v, local_dsq(), 0);
}

/*
 * Insert a light task behind its waker, a light task about to sleep: no queue, no second CPU and no dispatch between
 * them. Return false where a queued task is earlier by more than SCXG_SYNC_LEAD_NS.
 */
static __always_inline bool insert_sync_wakeup(struct task_struct *p, s32 here, struct view *v)
{
	struct cpu_ctx *cc = get_cpu_ctx(here);
	struct place place;

	if (!cc || !v->tc || !cc->is_short || scx_bpf_dsq_nr_queued(local_dsq()) > 0 ||
	    !bpf_cpumask_test_cpu(here, p->cpus_ptr))
		return false;
	find_place(&v->facts, v->tun, v->now, &place);
	if (!scxg_may_insert_sync(place.key, earliest_key(cc, here, v->now)))
		return false;
	mark_queued(v, &place);
	cc->local_head_key = place.key;
	scxg_insert(p, local_dsq(), place.slice, 0);
	return true;
}

/* Preempt the task on the previous CPU, if need be by enqueue. Return false if its score is too low. */
static __always_inline bool try_prev_cpu(struct task_struct *p, struct view *v, s32 prev_cpu)
{
	struct cpu_ctx *prev = get_cpu_ctx(prev_cpu);
	struct search how;
	u64 last_kick;
	u32 score;

	if (!prev || !prev->run_since)
		return false;
	last_kick = prev->last_kick; /* read before the score that rests on it */
	view_read_window(v);
	how = search_init(prev_cpu, 1, v);
	score = preempt_score_on(p, prev_cpu, &how);
	if (!scxg_prefers_prev_cpu(score))
		return false;
	preempt_in_select_cpu(p, v, prev_cpu, score, last_kick);
	return true;
}

#endif /* SCXG_SCHED_PLACE_H */
