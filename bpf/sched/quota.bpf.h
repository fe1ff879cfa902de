/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPU time that a cgroup may have: cpu.max, a leaky bucket for each quota (policy.h). A run moves the time until which the
 * quota has paid. While that lies ahead, tasks of the cgroup and of those below it wait in a DSQ that no CPU takes from,
 * in the order of that time, each behind the runs charged before it came. A timer moves them to their queues
 * (release.bpf.h), after SCXG_HOLD_MAX_NS at the latest: the starvation bound comes before the quota.
 *
 * The game, critical programs and kernel threads are neither charged nor held: what waits for them is what the player
 * sees. A task that ends or is in a section of the kernel that must not migrate is not held, because others wait for it.
 *
 * Where no quota is set, each callback reads one number. Global functions as in queue.bpf.h.
 */
#ifndef SCXG_SCHED_QUOTA_H
#define SCXG_SCHED_QUOTA_H

#include "group.bpf.h"
#include "queue.bpf.h"

#define DSQ_HELD 0x3000ULL

static __always_inline bool is_limited(const struct task_struct *p, const struct task_ctx *tc,
				       const struct scxg_sched_state *state)
{
	return !scxg_is_favoured(effective_class(tc, state)) && !tc->is_bulk &&
	       !(p->flags & (PF_KTHREAD | PF_EXITING));
}

/* Charge a run to all quotas that the task is subject to. */
__noinline int charge_quotas(struct task_struct *p __arg_trusted, u64 ran, u64 now)
{
	struct task_ctx *tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
	struct scxg_sched_state *state = get_sched_state();

	if (!tc || !state || !is_limited(p, tc, state))
		return 0;
	find_groups(p, tc);
	for (u32 i = 0; i < MAX_QUOTAS; i++) {
		struct group *group = quota_at(tc, i);
		u64 paid, least;

		if (!group)
			continue;
		paid = group->paid_ns;
		least = scxg_quota_least(group->saved_ns, ran, now);
		/* Who loses this race was paid for by the winner. */
		if (paid < least)
			__sync_val_compare_and_swap(&group->paid_ns, paid, least);
		else if (paid > now + SCXG_HOLD_MAX_NS) /* no debt beyond what a task waits for */
			continue;
		__sync_fetch_and_add(&group->paid_ns, scxg_quota_cost(ran, group->rate));
	}
	return 0;
}

/* Return until when @p must wait for its quotas, after a run of `ran` ns that is not charged yet; 0 if it may run. */
__noinline u64 held_until(struct task_struct *p __arg_trusted, u64 ran)
{
	struct task_ctx *tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
	struct scxg_sched_state *state = get_sched_state();
	u64 now, until = 0;

	if (!tc || !state || !is_limited(p, tc, state) || (p->nr_cpus_allowed > 1 && is_pinned(p)))
		return 0;
	find_groups(p, tc);
	if (!tc->nr_quotas)
		return 0;
	now = bpf_ktime_get_ns();
	for (u32 i = 0; i < MAX_QUOTAS; i++) {
		struct group *group = quota_at(tc, i);

		if (group)
			until = scxg_max(until, scxg_quota_until(group->paid_ns, group->saved_ns,
								 group->rate, ran, now));
	}
	return scxg_hold(until, now);
}

/* Return true if the running task of a CPU has used up a quota. */
static __always_inline bool is_quota_spent(struct task_struct *p, const struct cpu_ctx *cc)
{
	return nr_quotas && held_until(p, scxg_sub(bpf_ktime_get_ns(), cc->run_since));
}

#endif /* SCXG_SCHED_QUOTA_H */
