/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A scheduler with one queue for the whole machine, ordered by weighted virtual runtime, and no state of its own. The
 * benchmark's floor: the cost of the scheduler's callbacks is judged against it. Not shipped, and never attached by the
 * supervisor.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "compat.h"

char _license[] SEC("license") = "GPL";

#define QUEUE 0x1000ULL
#define SLICE_NS 20000000ULL

/* Virtual time of the task that started last. Racy: an error of one slice is harmless. */
static u64 vtime_now;

SEC("struct_ops/baseline_select_cpu")
s32 BPF_PROG(baseline_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool is_idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);

	if (is_idle)
		scxg_insert(p, scxg_enum(scx_dsq_id_flags, SCX_DSQ_LOCAL), SLICE_NS, 0);
	return cpu;
}

SEC("struct_ops/baseline_enqueue")
void BPF_PROG(baseline_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 vtime = p->scx.dsq_vtime;

	/* A sleeper saves up one slice at most. */
	if ((s64)(vtime - (vtime_now - SLICE_NS)) < 0)
		vtime = vtime_now - SLICE_NS;
	scxg_insert_vtime(p, QUEUE, SLICE_NS, vtime, enq_flags);
}

SEC("struct_ops/baseline_dispatch")
void BPF_PROG(baseline_dispatch, s32 cpu, struct task_struct *prev)
{
	scxg_move_to_local(QUEUE);
}

SEC("struct_ops/baseline_running")
void BPF_PROG(baseline_running, struct task_struct *p)
{
	if ((s64)(vtime_now - p->scx.dsq_vtime) < 0)
		vtime_now = p->scx.dsq_vtime;
}

SEC("struct_ops/baseline_stopping")
void BPF_PROG(baseline_stopping, struct task_struct *p, bool runnable)
{
	u64 ran = SLICE_NS - p->scx.slice;

	p->scx.dsq_vtime += p->scx.weight ? ran * 100 / p->scx.weight : ran;
}

SEC("struct_ops/baseline_enable")
void BPF_PROG(baseline_enable, struct task_struct *p)
{
	p->scx.dsq_vtime = vtime_now;
}

SEC("struct_ops.s/baseline_init")
s32 BPF_PROG(baseline_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops baseline_ops = {
    .select_cpu = (void *)baseline_select_cpu,
    .enqueue = (void *)baseline_enqueue,
    .dispatch = (void *)baseline_dispatch,
    .running = (void *)baseline_running,
    .stopping = (void *)baseline_stopping,
    .enable = (void *)baseline_enable,
    .init = (void *)baseline_init,
    .timeout_ms = 10000,
    .name = "baseline",
};
