/* SPDX-License-Identifier: GPL-2.0-only */
/* Cgroups with a quota (cpu.max) or a weight (cpu.weight): what the kernel tells of them, and which ones a task is in. */
#ifndef SCXG_SCHED_GROUP_H
#define SCXG_SCHED_GROUP_H

#include "task.bpf.h"

#define MAX_GROUPS 1024

struct group {
	u64 rate;     /* what a run costs, scxg_quota_rate(); 0: no quota */
	u64 saved_ns; /* what is paid in advance at most, in time of the quota */
	u64 paid_ns;  /* until when the quota has paid. Written by many CPUs */
	u64 weight;   /* cpu.weight; 0: 100, which makes no group of its tasks */
	s64 load;     /* sum of what its tasks that compute weigh by nice value */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_GROUPS);
	__type(key, u64); /* id of the cgroup */
	__type(value, struct group);
} groups SEC(".maps");

static u64 nr_quotas;
static u64 nr_weights;
/* Grows when a quota or a weight comes, changes or goes: tasks look for theirs again. */
static u64 groups_epoch;

/*
 * Find what @p is subject to: the quotas of its cgroup and of those above, the nearest first, the nearest with a weight,
 * and the product of all weights. Global, as in queue.bpf.h.
 */
__noinline int look_up_groups(struct task_struct *p __arg_trusted)
{
	struct task_ctx *tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
	struct task_group *tg = p->sched_task_group;
	struct group *group;
	u64 id, weight;
	u32 i, at;

	if (!tc)
		return 0;
	tc->groups_epoch = groups_epoch;
	tc->tg = (u64)tg;
	tc->nr_quotas = 0;
	tc->weighted = 0;
	tc->group_weight = SCXG_WEIGHT;
	bpf_for(i, 0, GROUP_DEPTH)
	{
		if (!tg)
			break;
		id = tg->css.cgroup->kn->id;
		group = bpf_map_lookup_elem(&groups, &id);
		at = tc->nr_quotas;
		if (group && group->rate && at < MAX_QUOTAS) {
			tc->quotas[at] = id;
			tc->nr_quotas = at + 1;
		}
		weight = group ? group->weight : 0;
		if (weight) {
			tc->weighted = tc->weighted ?: id;
			tc->group_weight = scxg_group_weight(tc->group_weight, weight);
		}
		tg = tg->parent;
	}
	return 0;
}

static __always_inline void find_groups(struct task_struct *p, struct task_ctx *tc)
{
	if (tc->tg != (u64)p->sched_task_group || tc->groups_epoch != groups_epoch)
		look_up_groups(p);
}

/* The quota number @i of a task; NULL where there is none, or none any more. */
static __always_inline struct group *quota_at(const struct task_ctx *tc, u32 i)
{
	struct group *group;
	u64 id;

	if (i >= MAX_QUOTAS || i >= tc->nr_quotas)
		return NULL;
	id = tc->quotas[i];
	group = bpf_map_lookup_elem(&groups, &id);
	return group && group->rate ? group : NULL;
}

/* Return the entry of a cgroup, which is made if there is something to say of it. */
static __always_inline struct group *get_group(u64 id, bool make)
{
	struct group none = {}, *group = bpf_map_lookup_elem(&groups, &id);

	if (group || !make)
		return group;
	bpf_map_update_elem(&groups, &id, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&groups, &id);
}

/* Set a value of a cgroup, and count those that have one. */
static __always_inline void set_value(u64 *value, u64 to, u64 *count)
{
	u64 before = __sync_lock_test_and_set(value, to);

	if (!before != !to)
		__sync_fetch_and_add(count, to ? 1 : -1);
	__sync_fetch_and_add(&groups_epoch, 1);
}

static __always_inline void set_quota(u64 id, u64 period_us, u64 quota_us, u64 burst_us)
{
	struct scxg_sched_state *state = get_sched_state();
	u64 rate = scxg_quota_rate(period_us, quota_us);
	struct group *group;

	/* Nobody would come back to a task that is held. */
	if (!state || state->timer_failed || !scxg_can_move())
		return;
	group = get_group(id, rate);
	if (!group)
		return;
	group->saved_ns = scxg_quota_saved(period_us, burst_us, rate);
	/* Without the old quota's debt. */
	group->paid_ns = scxg_min(group->paid_ns, bpf_ktime_get_ns());
	set_value(&group->rate, rate, &nr_quotas);
}

static __always_inline void set_weight(u64 id, u32 weight)
{
	bool is_set = weight && weight != SCXG_GROUP_WEIGHT;
	struct group *group = get_group(id, is_set);

	if (group)
		set_value(&group->weight, is_set ? weight : 0, &nr_weights);
}

SEC("struct_ops.s/scxg_cgroup_init")
s32 BPF_PROG(scxg_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	u64 id = cgrp->kn->id;

	set_weight(id, args->weight);
	if (bpf_core_field_exists(args->bw_quota_us))
		set_quota(id, args->bw_period_us, args->bw_quota_us, args->bw_burst_us);
	return 0;
}

SEC("struct_ops/scxg_cgroup_set_weight")
void BPF_PROG(scxg_cgroup_set_weight, struct cgroup *cgrp, u32 weight)
{
	set_weight(cgrp->kn->id, weight);
}

/* 6.17 on: the supervisor leaves it out before. */
SEC("struct_ops/scxg_cgroup_set_bandwidth")
void BPF_PROG(scxg_cgroup_set_bandwidth, struct cgroup *cgrp, u64 period_us, u64 quota_us,
	      u64 burst_us)
{
	set_quota(cgrp->kn->id, period_us, quota_us, burst_us);
}

/* 6.19 on, as above. Tasks look for it again; what is set before the attach they find by themselves. */
SEC("struct_ops/scxg_cgroup_set_idle")
void BPF_PROG(scxg_cgroup_set_idle, struct cgroup *cgrp, bool idle)
{
	__sync_fetch_and_add(&idle_epoch, 1);
}

SEC("struct_ops/scxg_cgroup_move")
void BPF_PROG(scxg_cgroup_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	forget_class(p);
}

SEC("struct_ops.s/scxg_cgroup_exit")
void BPF_PROG(scxg_cgroup_exit, struct cgroup *cgrp)
{
	u64 id = cgrp->kn->id;

	set_quota(id, 0, 0, 0);
	set_weight(id, 0);
	bpf_map_delete_elem(&groups, &id);
}

#endif /* SCXG_SCHED_GROUP_H */
