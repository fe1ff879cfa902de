/* SPDX-License-Identifier: GPL-2.0-only */
/* The class of a task: from map `classes`, else from what the task says of itself. */
#ifndef SCXG_CLASSIFY_H
#define SCXG_CLASSIFY_H

#include "policy.h"
#include "shared_maps.h"

#define NICE_TO_PRIO(nice) ((nice) + 120)  /* include/linux/sched/prio.h */
#define USER_TICK_NS (10 * SCXG_NS_PER_MS) /* /proc shows start times in ticks of USER_HZ, 100 */

/* static_prio, which the kernel does not change for SCHED_IDLE. */
static __always_inline u32 weight_prio(const struct task_struct *p)
{
	return p->policy == SCHED_IDLE ? SCXG_PRIO_IDLE : p->static_prio;
}

/* The class of a task; a thread of the game that is in no hurry has none of its own, but is marked as bulk. */
static __always_inline u32 scxg_classify(const struct task_struct *p, u32 *is_bulk)
{
	u32 tgid = p->tgid;
	struct scxg_class_entry *entry;

	*is_bulk = 0;
	if (p->flags & PF_KTHREAD)
		return p->nr_cpus_allowed == 1 ? SCXG_CLASS_KTHREAD : SCXG_CLASS_NORMAL;
	entry = bpf_map_lookup_elem(&classes, &tgid);
	if (entry && entry->class_id < SCXG_CLASS_KTHREAD) {
		/* The entry of an earlier process with this pid does not count. */
		if (!entry->start_ns || entry->start_ns / USER_TICK_NS ==
					    p->group_leader->start_boottime / USER_TICK_NS) {
			*is_bulk = entry->class_id == SCXG_CLASS_GAME &&
				   (p->policy == SCHED_BATCH || weight_prio(p) >= SCXG_PRIO_BULK);
			return *is_bulk ? SCXG_CLASS_NORMAL : entry->class_id;
		}
	}
	if (p->policy == SCHED_IDLE || p->policy == SCHED_BATCH ||
	    p->static_prio >= NICE_TO_PRIO(SCXG_BACKGROUND_NICE))
		return SCXG_CLASS_BACKGROUND;
	return SCXG_CLASS_NORMAL;
}

#endif /* SCXG_CLASSIFY_H */
