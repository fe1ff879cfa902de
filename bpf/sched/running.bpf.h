/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ops.running, ops.stopping and ops.yield: the running task is published for searches, its run is accounted, and it may
 * end its turn.
 */
#ifndef SCXG_SCHED_RUNNING_H
#define SCXG_SCHED_RUNNING_H

#include "lock.bpf.h"
#include "share.bpf.h"
#include "shield.bpf.h"
#include "speed.bpf.h"

/*
 * Return true if the run is counted at its stop. So it is for the game and for tasks that answer, because between their
 * wake-up and their first instruction all work is latency. For others the stop is what the preempting task waits for.
 */
static __always_inline bool is_counted_at_stop(const struct cpu_ctx *cc)
{
	return cc->is_short || scxg_is_favoured(cc->class_id);
}

/* Count a run: where, and after which wait. */
static __always_inline void count_run(struct task_ctx *tc, s32 cpu, u32 class_id, u64 since,
				      struct scxg_cpu_stats *stats)
{
	u64 wait;

	stats->runs[class_id]++;
	if (tc->last_cpu >= 0 && tc->last_cpu != cpu)
		stats->migrations[class_id]++;
	tc->last_cpu = cpu;
	if (!tc->queued_ns)
		return;
	wait = scxg_sub(since, tc->queued_ns);
	tc->queued_ns = 0;
	stats->wait_sum_ns[class_id] += wait;
	stats->wait_max_ns[class_id] = scxg_max(stats->wait_max_ns[class_id], wait);
	stats->wait_hist[class_id][scxg_wait_bucket(wait) & (SCXG_WAIT_BUCKETS - 1)]++;
}

/* Count the way from a report to the first run of the game's thread that it woke. */
static __always_inline void count_input(struct task_ctx *tc, u64 since,
					struct scxg_cpu_stats *stats)
{
	u64 delay = scxg_sub(since, tc->input_ns);

	tc->input_ns = 0;
	stats->input_sum_ns += delay;
	stats->input_hist[scxg_wait_bucket(delay) & (SCXG_WAIT_BUCKETS - 1)]++;
}

SEC("struct_ops/scxg_running")
void BPF_PROG(scxg_running, struct task_struct *p)
{
	struct scxg_control *ctl = scxg_control();
	struct scxg_sched_state *state = get_sched_state();
	s32 cpu =
	    scx_bpf_task_cpu(p); /* not this CPU when another one changes the affinity of @p */
	struct cpu_ctx *cc = get_cpu_ctx(cpu);
	struct task_ctx *tc = get_task_ctx(p, ctl);
	struct scxg_cpu_stats *stats;
	u32 class_id;

	if (!state || !cc)
		return;
	class_id = effective_class(tc, state);
	cc->class_id = class_id;
	if (nr_home)
		cc->goes_home = 0;
	cc->is_kthread = !!(p->flags & PF_KTHREAD);
	cc->burst_before = tc ? tc->burst : 0;
	cc->debt_before = tc ? tc->debt : 0;
	cc->urgent_link = tc ? tc->urgent_link : 0;
	cc->lent_until = tc ? tc->lent_until : 0;
	cc->is_short = tc && scxg_is_responsive(tc->maturity, tc->burst, tc->burst_avg);
	/* Last: from here on other CPUs take the fields above for those of the running task. */
	barrier();
	cc->run_since = bpf_ktime_get_ns();
	shield_run(cpu, cc, tc, state, ctl);
	update_speed(cpu, cc, cc->run_since);
	if (!tc || is_counted_at_stop(cc) || class_id >= SCXG_NR_CLASSES)
		return;
	stats = get_cpu_stats(cpu);
	if (stats)
		count_run(tc, cpu, class_id, cc->run_since, stats);
}

SEC("struct_ops/scxg_stopping")
void BPF_PROG(scxg_stopping, struct task_struct *p, bool runnable)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct cpu_ctx *cc = get_cpu_ctx(cpu);
	struct scxg_cpu_stats *stats = get_cpu_stats(cpu);
	struct task_ctx *tc;
	u64 since, ran, now = bpf_ktime_get_ns();
	u32 class_id;

	if (!cc || !stats)
		return;
	class_id = cc->class_id;
	since = cc->run_since;
	ran = since ? scxg_sub(now, since) : 0;
	cc->busy_ns += ran;
	cc->run_since = 0;
	if (has_smt && cc->shields)
		lower_shield(cpu, now);
	if (class_id < SCXG_NR_CLASSES)
		stats->run_ns[class_id] += ran;
	tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
	if (!tc || tc->generation != generation)
		return;
	if (since && is_counted_at_stop(cc) && class_id < SCXG_NR_CLASSES)
		count_run(tc, cpu, class_id, since, stats);
	if (since && tc->input_ns && class_id == SCXG_CLASS_GAME)
		count_input(tc, since, stats);
	/* All of the run, however many slices it took. */
	tc->burst += ran;
	tc->used += ran;
	tc->stopped_ns = now;
	tc->debt = scxg_debt_ran(tc->debt, ran);
	if (nr_quotas)
		charge_quotas(p, ran, now);
	if (tc->beat.steady || tc->urgent_link)
		charge_urgency(tc, ran, now);
	/*
	 * A running task is also dequeued, and put back at once, where its affinity, nice value or group changes. It did
	 * not sleep then: else a hog that sets its own affinity once in 1 ms would never have debt.
	 */
	if (runnable || !p->__state) {
		charge_share(p, tc, cpu, ran);
		return;
	}
	uncount_weight(tc);
	tc->burst_avg = scxg_burst_avg(tc->burst_avg, tc->burst, tc->maturity);
	tc->burst = 0;
	tc->input_ns = 0;
	tc->lent_until = 0;
	tc->asleep_ns = now;
	if (tc->maturity < MATURITY_MAX)
		tc->maturity++;
	if (scxg_is_favoured(class_id))
		lend_place(p, cpu, now);
}

/*
 * sched_yield ends the turn, and with it the place: a thread that spins for a lock would else come back before the
 * owner of the lock. To yield to a certain task is not supported.
 */
SEC("struct_ops/scxg_yield")
bool BPF_PROG(scxg_yield, struct task_struct *from, struct task_struct *to)
{
	struct task_ctx *tc;

	if (to)
		return false;
	tc = bpf_task_storage_get(&task_ctxs, from, NULL, 0);
	if (tc)
		tc->key = 0;
	scxg_set_slice(from, 0);
	return true;
}

#endif /* SCXG_SCHED_RUNNING_H */
