/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long the GPU was at work for the game. Loaded while a game runs where a driver uses the kernel's GPU
 * scheduler (drivers/gpu/drm/scheduler); it needs no scheduler of ours.
 *
 * A job of that scheduler has two fences, which drm_sched_fence_init() makes one after the other in the call that submits
 * it: `scheduled` of context c, and `finished` of context c + 1, both with the number of the job. The first is signalled
 * when the GPU has the job, hence not while it waits for another frame, for the screen or for its turn; the second when
 * it is done. No other fences are a pair: those of drivers, arrays and chains have contexts of their own.
 *
 * The tracepoints are in the kernel itself, those of the GPU scheduler in a module: fields of its structs take the BTF of
 * the module, which the kernel gives to CAP_SYS_ADMIN alone (bpf_btf_get_fd_by_id()).
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "classify.h"
#include "mapped.h"

/* In gpu_work.running, above nanoseconds since the boot, which stay below it for two years. */
#define ONE_JOB (1ULL << 56)
#define TRIES 8 /* one fails only where another CPU's succeeded */

char _license[] SEC("license") = "GPL";

struct fence_id {
	u64 context; /* 0: none, because the kernel counts from 1 */
	u64 seqno;
};

/* A job of the game that is not done, by its fence `finished`. */
struct job {
	struct fence_id finished;
	u64 is_running; /* 1: the GPU has it */
};

/*
 * By slot_of(): a job whose slot is taken does not count. The kernel signals all fences, those of a lost GPU too, so each
 * slot is free again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCXG_GPU_JOBS);
	__type(key, u32);
	__type(value, struct job);
} jobs SEC(".maps");

/* The newest fence that a thread of the game made on a CPU. */
struct newest {
	struct fence_id fence;
	s32 pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct newest);
} newest_fence SEC(".maps");

/* Written by the hooks, read by Python by mapping. */
MAPPED_ARRAY(gpu_work, struct scxg_gpu_work, 1);

enum scxg_gpu_limits scxg_anchor_gpu_limits = 0;

static __always_inline struct job *slot_of(u64 context, u64 seqno)
{
	u32 key = (context * 31 + seqno) & (SCXG_GPU_JOBS - 1);

	return bpf_map_lookup_elem(&jobs, &key);
}

/* The job with this fence; NULL if it is none of the game. */
static __always_inline struct job *job_of(u64 context, u64 seqno)
{
	struct job *job = slot_of(context, seqno);

	return job && job->finished.context == context && job->finished.seqno == seqno ? job : NULL;
}

SEC("tp_btf/dma_fence_init")
int BPF_PROG(on_fence_init, struct dma_fence *fence)
{
	u64 context = fence->context, seqno = fence->seqno;
	struct task_struct *p = bpf_get_current_task_btf();
	struct newest *newest;
	u32 zero = 0, is_bulk;
	struct job *job;

	if (scxg_classify(p, &is_bulk) != SCXG_CLASS_GAME && !is_bulk)
		return 0;
	newest = bpf_map_lookup_elem(&newest_fence, &zero);
	if (!newest)
		return 0;
	if (newest->pid != p->pid || newest->fence.context + 1 != context ||
	    newest->fence.seqno != seqno) {
		newest->fence.context = context;
		newest->fence.seqno = seqno;
		newest->pid = p->pid;
		return 0;
	}
	newest->pid = 0; /* a fence is of one pair */
	job = slot_of(context, seqno);
	if (job && !__sync_val_compare_and_swap(&job->finished.context, 0, context))
		job->finished.seqno = seqno;
	return 0;
}

/* Count a job that the GPU has from @now on; return 0 if it is one too many. */
static __always_inline u32 begin(struct scxg_gpu_work *work, u64 now)
{
	u32 i;

	for (i = 0; i < TRIES; i++) {
		u64 old = work->running, new = old ? old + ONE_JOB : ONE_JOB | now;

		if (new < old)
			return 0;
		if (__sync_val_compare_and_swap(&work->running, old, new) == old)
			return 1;
	}
	return 0;
}

/* Count a job as done at @now. The time since the GPU had any counts once it has none. */
static __always_inline void end(struct scxg_gpu_work *work, u64 now)
{
	u32 i;

	for (i = 0; i < TRIES; i++) {
		u64 old = work->running, new = old < 2 * ONE_JOB ? 0 : old - ONE_JOB;

		if (__sync_val_compare_and_swap(&work->running, old, new) != old)
			continue;
		if (!new)
			__sync_fetch_and_add(&work->busy_ns, now - (old & (ONE_JOB - 1)));
		break;
	}
	__sync_fetch_and_add(&work->jobs, 1);
}

/* With the lock of the fence held, and interrupts off. */
SEC("tp_btf/dma_fence_signaled")
int BPF_PROG(on_fence_signal, struct dma_fence *fence)
{
	u64 context = fence->context, seqno = fence->seqno, was_running;
	struct scxg_gpu_work *work;
	struct job *job;
	u32 zero = 0;

	work = bpf_map_lookup_elem(&gpu_work, &zero);
	if (!work)
		return 0;
	job = job_of(context, seqno);
	if (job) {
		was_running = job->is_running;
		job->is_running = 0;
		barrier(); /* the slot is free from now on */
		job->finished.context = 0;
		if (was_running)
			end(work, bpf_ktime_get_ns());
		return 0;
	}
	job = job_of(context + 1, seqno);
	if (job && !job->is_running)
		job->is_running = begin(work, bpf_ktime_get_ns());
	return 0;
}
