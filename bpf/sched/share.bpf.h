/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shares by weight (nice, cpu.weight) of tasks that compute, while no game is active. A task that stops and wants to go
 * on owes the turns that its weight leaves to others (policy.h), and goes on if the head of the queue owes still more.
 * Where all weights are that of nice 0 nobody owes anything, and two sums that are 0 are all that is read of this.
 */
#ifndef SCXG_SCHED_SHARE_H
#define SCXG_SCHED_SHARE_H

#include "group.bpf.h"
#include "place.bpf.h"

/* The sum of what tasks that compute weigh more than nice 0: by CPU of those pinned to one, then by cache of the others. */
static s64 extra_weight[2 * SCXG_MAX_CPUS];

static __always_inline s64 *extra_at(u32 place)
{
	barrier_var(place); /* as in llc_dsq */
	return &extra_weight[place < 2 * SCXG_MAX_CPUS ? place : 0];
}

static __always_inline void uncount_extra(struct task_ctx *tc)
{
	if (tc->extra)
		__sync_fetch_and_add(extra_at(tc->extra_at), -(s64)tc->extra);
	tc->extra = 0;
}

/* Count a task that computes in the load of its cgroup; 0: not any more. */
static __always_inline void count_load(struct task_ctx *tc, u64 id, u32 weight)
{
	struct group *group;

	if (tc->loaded == weight && (!weight || tc->loaded_at == id))
		return;
	group = tc->loaded ? bpf_map_lookup_elem(&groups, &tc->loaded_at) : NULL;
	if (group)
		__sync_fetch_and_add(&group->load, -(s64)tc->loaded);
	group = weight ? bpf_map_lookup_elem(&groups, &id) : NULL;
	if (group)
		__sync_fetch_and_add(&group->load, (s64)weight);
	tc->loaded = group ? weight : 0;
	tc->loaded_at = id;
}

/* The task sleeps, goes, or waits for a quota. */
static __always_inline void uncount_weight(struct task_ctx *tc)
{
	uncount_extra(tc);
	count_load(tc, 0, 0);
}

static __always_inline void count_weight(struct task_ctx *tc, s32 extra, u32 place)
{
	if (tc->extra == extra && (!extra || tc->extra_at == place))
		return;
	uncount_extra(tc);
	__sync_fetch_and_add(extra_at(place), (s64)extra);
	tc->extra = extra;
	tc->extra_at = place;
}

/* Where the weights of tasks at the cache of @cpu are counted. */
static __always_inline u32 llc_place(s32 cpu)
{
	return SCXG_MAX_CPUS + (u32)(llc_dsq(cpu) - DSQ_LLC_BASE);
}

/* Return true if a task that computes on @cpu, or waits for it, has another weight than that of nice 0. */
static __always_inline bool differ_weights(s32 cpu)
{
	return *extra_at(cpu) || *extra_at(llc_place(cpu));
}

/* Return true if @p is, or is still counted, in a cgroup with a weight. */
static __always_inline bool is_weighted(struct task_struct *p, struct task_ctx *tc)
{
	if (nr_weights)
		find_groups(p, tc);
	else
		tc->weighted = 0;
	return tc->weighted || tc->loaded;
}

static __always_inline u32 part_of_group(const struct task_ctx *tc, u32 weight)
{
	u64 id = tc->loaded_at;
	struct group *group = bpf_map_lookup_elem(&groups, &id);

	return group ? scxg_part_of_group(tc->group_weight, weight, group->load) : weight;
}

/*
 * Return what @p owes after the last `ran` ns on @cpu, as a task that computes. `next` tasks have left the queue for this
 * CPU: one where the turn is over. Global, as in queue.bpf.h.
 */
__noinline s64 owed_after(struct task_struct *p __arg_trusted, s32 cpu, u64 ran, u32 next)
{
	struct task_ctx *tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
	struct scxg_control *ctl = scxg_control();
	struct scxg_sched_state *state = get_sched_state();
	struct scxg_share share;
	s64 lack, here, around;
	bool pinned;

	if (!tc || !state || !ctl)
		return 0;
	/* The kernel's word for it is coarse: nice 19 has 1 of 100. */
	share.weight = tc->is_idle ? SCXG_WEIGHT_IDLE : scxg_weight(p->static_prio);
	count_load(tc, tc->weighted, tc->weighted ? share.weight : 0);
	if (tc->loaded && !tc->is_idle)
		share.weight = part_of_group(tc, share.weight);
	lack = SCXG_WEIGHT - (s64)share.weight;
	pinned = is_pinned(p);
	count_weight(tc, -lack, pinned ? (u32)cpu : llc_place(cpu));
	if (state->effects && ctl->game_active)
		return 0;
	/* The sums of w_j - w: of tasks pinned to this CPU, and of those that share it with the others of its cache. */
	share.cpus = scxg_clamp(nr_cpus / nr_llcs, 1, pinned ? SCXG_MAX_CPUS : p->nr_cpus_allowed);
	here = scx_bpf_dsq_nr_queued(cpu_dsq(cpu)) + (pinned ? 1 + next : 0);
	around = scx_bpf_dsq_nr_queued(llc_dsq(cpu)) + (pinned ? 0 : next);
	share.rivals = (here * lack + *extra_at(cpu)) * share.cpus;
	if (around > 0)
		share.rivals += (around + share.cpus - pinned) * lack + *extra_at(llc_place(cpu));
	return scxg_owed(tc->owed, ran, &share, bpf_get_prandom_u32());
}

/* A task stopped after a run and wants to go on: note what it owes, and what it weighs. */
static __always_inline void charge_share(struct task_struct *p, struct task_ctx *tc, s32 cpu,
					 u64 ran)
{
	/* Kernel threads work for others, whatever their nice value: a worker of nice -20 would delay a hog by its bound. */
	if (tc->debt < SCXG_DEBT_HOG_NS || p->flags & PF_KTHREAD)
		return;
	if (!is_weighted(p, tc) && p->scx.weight == 100 && !tc->is_idle && !tc->extra &&
	    !differ_weights(cpu))
		tc->owed = 0;
	else
		tc->owed = owed_after(p, cpu, ran, !has_slice_left(tc));
}

/* Return true if the turn of @p on @cpu is over, but its next one would come before the head of the queues. */
__noinline bool goes_on(struct task_struct *p __arg_trusted, s32 cpu)
{
	struct cpu_ctx *cc = get_cpu_ctx(cpu);
	struct view v = {};
	struct place place;
	u64 ran;

	/* Without a key it found an idle CPU, or yielded. */
	if (!cc || !scxg_can_peek() || !view_init(&v, p) || v.facts.game_active ||
	    v.facts.is_kthread || !v.tc || !v.tc->key)
		return false;
	ran = scxg_sub(v.now, cc->run_since);
	v.facts.burst += ran;
	v.facts.debt = scxg_debt_ran(v.facts.debt, ran);
	if (v.facts.debt >= SCXG_DEBT_HOG_NS)
		v.facts.owed = owed_after(p, cpu, ran, 0);
	return find_place(&v.facts, v.tun, v.now, &place) <
	       scxg_min(head_key(llc_dsq(cpu), cpu), head_key(cpu_dsq(cpu), cpu));
}

/* It becomes a task of another class, which count_weight would take for one of ours. */
SEC("struct_ops/scxg_disable")
void BPF_PROG(scxg_disable, struct task_struct *p)
{
	struct task_ctx *tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);

	if (tc && tc->generation == generation)
		uncount_weight(tc);
}

#endif /* SCXG_SCHED_SHARE_H */
