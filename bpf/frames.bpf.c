/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When one thread of the game goes to sleep: it has done its part of a frame then. Loaded while a game runs that no
 * better source tells the frames of; any other thread's switch pays for one comparison. It needs no scheduler of ours,
 * so frames with and without one are told alike.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "mapped.h"

/* TASK_INTERRUPTIBLE and TASK_UNINTERRUPTIBLE, include/linux/sched.h: a thread that ends is in neither. */
#define TASK_NORMAL 0x3

char _license[] SEC("license") = "GPL";

/* The thread and its newest sleeps. The hook alone writes sleeps; Python chooses the thread, and reads by mapping. */
MAPPED_ARRAY(sleeps, struct scxg_frame_sleeps, 1);

enum scxg_frame_limits scxg_anchor_frame_limits = 0;

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	u32 zero = 0;
	struct scxg_frame_sleeps *of = bpf_map_lookup_elem(&sleeps, &zero);

	if (!of || prev->pid != (s32)of->tid || preempt || !(prev_state & TASK_NORMAL) ||
	    prev->start_boottime != of->start_ns)
		return 0;
	of->began_ns[of->nr & (SCXG_FRAME_SLOTS - 1)] = bpf_ktime_get_ns();
	barrier(); /* a reader that sees the number sees the time */
	of->nr++;
	return 0;
}
