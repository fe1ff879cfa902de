/* SPDX-License-Identifier: GPL-2.0-only */
/* Queues (DSQs) and the order in them: one vtime DSQ per last-level cache, one per CPU for tasks pinned to it. */
#ifndef SCXG_SCHED_QUEUE_H
#define SCXG_SCHED_QUEUE_H

#include "state.bpf.h"

#define DSQ_LLC_BASE 0x1000ULL
#define DSQ_CPU_BASE 0x2000ULL
#define NO_KEY (~0ULL) /* key of an empty queue: later than all */

static __always_inline u64 llc_dsq(s32 cpu)
{
	u32 index = cpu, llc;

	/* One register for the comparison and the access: the verifier does not relate two loads of a spilled value. */
	barrier_var(index);
	llc = index < SCXG_MAX_CPUS ? cpu_llc[index] : 0;

	return DSQ_LLC_BASE + (llc < nr_llcs ? llc : 0);
}

static __always_inline u64 cpu_dsq(s32 cpu)
{
	return DSQ_CPU_BASE + cpu;
}

static __always_inline u64 local_dsq(void)
{
	return scxg_enum(scx_dsq_id_flags, SCX_DSQ_LOCAL);
}

static __always_inline u64 local_dsq_on(s32 cpu)
{
	return scxg_enum(scx_dsq_id_flags, SCX_DSQ_LOCAL_ON) | cpu;
}

static __always_inline bool is_pinned(const struct task_struct *p)
{
	return p->nr_cpus_allowed == 1 || scxg_migration_disabled(p);
}

/*
 * Key of the first task in a DSQ that may run on @cpu, NO_KEY if there is none. Earlier tasks that may not run there do
 * not count: the kernel skips them when it moves a task to the local DSQ, so comparing their keys would hold up this
 * CPU's tasks behind tasks that it never runs. A global function: the verifier walks it once, by itself, instead of
 * once for every path that calls it.
 */
__noinline u64 head_key(u64 dsq, s32 cpu)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	u64 key = NO_KEY;

	if (bpf_ksym_exists(scx_bpf_dsq_peek)) { /* one look-up, no lock */
		p = scx_bpf_dsq_peek(dsq);
		if (!p)
			return key;
		if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
			return p->scx.dsq_vtime;
	} else if (scx_bpf_dsq_nr_queued(dsq) <= 0) {
		return key;
	}
	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		while ((p = bpf_iter_scx_dsq_next(&it))) {
			if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr)) {
				key = p->scx.dsq_vtime;
				break;
			}
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return key;
}

/*
 * The earliest key in the queues that a CPU, the one of @cc, takes from; 0 where it is unknown. Global, as head_key.
 */
__noinline u64 earliest_key(const struct cpu_ctx *cc __arg_nonnull, s32 cpu, u64 now)
{
	/* Other caches' heads are known as of the last scan, for as long as that is fresh. */
	if (!scxg_can_peek() || (nr_llcs > 1 && now >= cc->last_remote_scan + SCXG_REMOTE_SCAN_NS))
		return 0;
	return scxg_min(head_key(llc_dsq(cpu), cpu),
			cc->has_pinned ? head_key(cpu_dsq(cpu), cpu) : NO_KEY);
}

/*
 * Return true if a task with this key would be the head of the CPU's queue. Only then is preempting that CPU of use to
 * it: else the CPU takes the head, which waits for longer.
 */
__noinline bool is_queue_head(s32 cpu, u64 key)
{
	return !scxg_can_peek() || key <= head_key(llc_dsq(cpu), cpu);
}

/* Number of tasks in a CPU's local DSQ, which the kernel runs before it asks dispatch. */
static __always_inline s32 nr_local(s32 cpu)
{
	return scx_bpf_dsq_nr_queued(local_dsq_on(cpu));
}

/* Return true if a task inserted at the head of a busy CPU's local DSQ keeps all in the order of keys. */
static __always_inline bool would_run_first(const struct cpu_ctx *cc, s32 cpu, u64 key, u64 now)
{
	return (nr_local(cpu) <= 0 || key <= cc->local_head_key) &&
	       key <= earliest_key(cc, cpu, now);
}

#endif /* SCXG_SCHED_QUEUE_H */
