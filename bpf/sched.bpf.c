/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scheduler: wall-clock earliest deadline first (EDF) with classes, debt and input windows.
 *
 * A task that becomes runnable at t gets the key t + relative deadline - credit. Keys are CLOCK_MONOTONIC times, so
 * they compare across queues, and a waiting task ages by waiting. A CPU runs the earliest key for one slice. Keys,
 * slices and scores are arithmetic without side effects in include/policy.h, which the tests compile for the host; it
 * also derives the starvation bound. docs/policy.md explains the reasons and the figures.
 *
 *   debt      time run minus twice the time slept, 0 to 32 ms. Light tasks have none, hogs have all of it. It is the
 *             relative deadline of a task, capped lower for the game and the programs that it waits for.
 *   class     assigned to a process by the supervisor through the map `classes`, or derived from nice and policy. While
 *             the supervisor's heartbeat is stale, assigned classes are ignored.
 *   window    open for a while after input. Then the game and the compositor have no relative deadline, and short
 *             threads of them have credit.
 *
 * The files, in the order in which a task meets them:
 *
 *   sched/state.bpf.h       constants, maps, the state of each CPU
 *   sched/task.bpf.h        the state of each task, its class, and the view that decisions are made from
 *   sched/queue.bpf.h       DSQs: one vtime DSQ per last-level cache, one per CPU for tasks pinned to it
 *   sched/shield.bpf.h      SMT: the other half of the game's core is kept free while the game computes
 *   sched/home.bpf.h        fast cores, the large cache: the CPUs that the game is placed on first
 *   sched/speed.bpf.h       requests to schedutil, by class
 *   sched/preempt.bpf.h     search for a victim: the running task with the highest preempt score
 *   sched/place.bpf.h       key and slice; ways onto a busy CPU past its queue
 *   sched/group.bpf.h       cgroups with a quota or a weight
 *   sched/share.bpf.h       shares by nice value and cpu.weight while no game is active
 *   sched/quota.bpf.h       quotas of cgroups: what a run costs, who has to wait
 *   sched/lock.bpf.h        the game waits for a lock: the holder gets its place
 *   sched/select_cpu.bpf.h  a wake-up: an idle CPU, a victim, the waker's CPU
 *   sched/enqueue.bpf.h     the task is queued; a CPU is kicked where it should take it at once
 *   sched/release.bpf.h     the end of a wait for a quota
 *   sched/dispatch.bpf.h    a CPU takes the earliest key; other caches by their lead; tick
 *   sched/running.bpf.h     a task runs and stops: debt, bursts, waits
 *   sched/timer.bpf.h       heartbeat, queue lengths
 *
 * To keep the starvation bound, no callback may
 *   - insert into a busy CPU's local DSQ ahead of an earlier key,
 *   - let the running task go on past its slice while another task with an earlier key waits,
 *   - insert into a DSQ that no allowed CPU consumes,
 *   - return from enqueue without an insert.
 */
#include "sched/state.bpf.h"
#include "sched/task.bpf.h"
#include "sched/queue.bpf.h"
#include "sched/shield.bpf.h"
#include "sched/home.bpf.h"
#include "sched/speed.bpf.h"
#include "sched/preempt.bpf.h"
#include "sched/place.bpf.h"
#include "sched/group.bpf.h"
#include "sched/share.bpf.h"
#include "sched/quota.bpf.h"
#include "sched/lock.bpf.h"
#include "sched/select_cpu.bpf.h"
#include "sched/enqueue.bpf.h"
#include "sched/release.bpf.h"
#include "sched/dispatch.bpf.h"
#include "sched/running.bpf.h"
#include "sched/timer.bpf.h"

char _license[] SEC("license") = "GPL";

/*
 * The kernel's watchdog is the backstop behind the bound. It must not end a machine with thousands of runnable threads,
 * whose fair turn comes after some ten seconds. 30 s is the kernel's default and its limit; the test build stalls on
 * purpose.
 */
#ifdef SCXG_FAULTS
#define WATCHDOG_MS 5000
#else
#define WATCHDOG_MS 30000
#endif

/* Create the DSQs base to base + nr - 1; 0 or a negative errno. */
static __always_inline s32 create_dsqs(u64 base, u32 nr)
{
	s32 err;
	u32 i;

	bpf_for(i, 0, nr)
	{
		err = scx_bpf_create_dsq(base + i, NUMA_NO_NODE);
		if (err)
			return err;
	}
	return 0;
}

SEC("struct_ops.s/scxg_init")
s32 BPF_PROG(scxg_init)
{
	struct scxg_sched_state *state = get_sched_state();
	long err;
	s32 ret;

	if (!state)
		return -ENOENT;
	ret = create_dsqs(DSQ_LLC_BASE, nr_llcs);
	if (ret)
		return ret;
	ret = create_dsqs(DSQ_CPU_BASE, nr_cpus);
	if (ret)
		return ret;
	ret = create_dsqs(DSQ_HELD, 1);
	if (ret)
		return ret;
	state->generation = generation;
	state->attached_ns = bpf_ktime_get_ns();
	state->effects = 1;
	/* Without the timer scheduling is correct all the same: tick then watches the heartbeat. */
	err = start_timers();
	state->timer_failed = err ? -err : 0;
	return 0;
}

SEC("struct_ops/scxg_exit")
void BPF_PROG(scxg_exit, struct scx_exit_info *ei)
{
	struct scxg_sched_state *state = get_sched_state();
	struct scxg_exit_info *info;
	struct timer_slot *slot;
	u32 zero = 0, i;

	if (state)
		state->stopping = 1;
	bpf_for(i, TIMER_HOUSEKEEPING, TIMER_RELEASE + 1)
	{
		slot = get_timer_slot(i);
		if (slot)
			bpf_timer_cancel(&slot->timer);
	}
	info = bpf_map_lookup_elem(&exit_info, &zero);
	if (!info)
		return;
	info->generation = generation;
	info->time_ns = bpf_ktime_get_ns();
	info->code = bpf_core_field_exists(ei->exit_code) ? ei->exit_code : 0;
	bpf_probe_read_kernel_str(info->reason, sizeof(info->reason), ei->reason);
	bpf_probe_read_kernel_str(info->msg, sizeof(info->msg), ei->msg);
	bpf_probe_read_kernel_str(info->dump, sizeof(info->dump), ei->dump);
	info->kind = ei->kind;
	emit_event(SCXG_EV_SCHED_EXIT, info->time_ns, info->kind);
}

SEC(".struct_ops.link")
struct sched_ext_ops scx_gamer_ops = {
    .select_cpu = (void *)scxg_select_cpu,
    .enqueue = (void *)scxg_enqueue,
    .dispatch = (void *)scxg_dispatch,
    .tick = (void *)scxg_tick,
    .running = (void *)scxg_running,
    .stopping = (void *)scxg_stopping,
    .yield = (void *)scxg_yield,
    .cpu_release = (void *)scxg_cpu_release,
    .set_weight = (void *)scxg_set_weight,
    .set_cpumask = (void *)scxg_set_cpumask,
    .init_task = (void *)scxg_init_task,
    .exit_task = (void *)scxg_exit_task,
    .disable = (void *)scxg_disable,
    .cgroup_init = (void *)scxg_cgroup_init,
    .cgroup_exit = (void *)scxg_cgroup_exit,
    .cgroup_set_weight = (void *)scxg_cgroup_set_weight,
    .cgroup_set_bandwidth = (void *)scxg_cgroup_set_bandwidth,
    .cgroup_set_idle = (void *)scxg_cgroup_set_idle,
    .cgroup_move = (void *)scxg_cgroup_move,
    .init = (void *)scxg_init,
    .exit = (void *)scxg_exit,
    /* Exiting tasks are ours too: the kernel would run them on slices of its own making. */
    .flags = SCX_OPS_ENQ_EXITING,
    .timeout_ms = WATCHDOG_MS,
    .exit_dump_len = SCXG_EXIT_DUMP_LEN,
    .name = "scx_gamer",
};
