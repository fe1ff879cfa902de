/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which programs had the CPU that a thread of the game waited for, and how long programs of class background waited.
 * Loaded while a session is recorded. It needs no scheduler of ours, so sessions with and without one compare.
 *
 * Each CPU keeps its last runs. When a thread of the game gets a CPU, its wait is gone through backwards in them: each
 * run's share of the wait is charged to its program. A thread that came from another CPU is charged to those that ran
 * where it runs now, because they are what a free CPU would have spared it.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "classify.h"

#define RUNS 64 /* power of two; a wait behind more runs is charged to the key of zeros in part */
#define PF_WQ_WORKER 0x20    /* include/linux/sched.h */
#define IDLE SCXG_NR_CLASSES /* class of a run in which the CPU was idle */

char _license[] SEC("license") = "GPL";

struct run {
	u64 since;  /* 0: unknown, it began before the hook was there */
	u64 waited; /* before it, in class background */
	struct scxg_program by;
};

/* The last runs of a CPU, the current one in slot nr % RUNS. Read and written by the switch hook alone. */
struct runs {
	u64 nr;
	struct run run[RUNS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct runs);
} cpu_runs SEC(".maps");

/* Per thread of the game or of class background: since when it waits, 0 while it does not. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} waits_since SEC(".maps");

/*
 * Written by the switch hook, read by Python. Full, it keeps those that it has, and counts further ones together under
 * the key of zeros, which Python puts in: in an LRU map, a user's storm of names would push out the others.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_MAX_PROGRAMS);
	__type(key, struct scxg_program);
	__type(value, struct scxg_interference);
} programs SEC(".maps");

static const char WORKER[SCXG_COMM_LEN] = "kworker";

enum scxg_interference_limits scxg_anchor_interference_limits = 0;

static __always_inline bool is_counted(u32 class_id)
{
	return class_id == SCXG_CLASS_GAME || class_id == SCXG_CLASS_BACKGROUND;
}

static __always_inline struct scxg_interference *of_program(const struct scxg_program *key)
{
	struct scxg_interference *found, fresh = {};
	struct scxg_program rest = {};

	found = bpf_map_lookup_elem(&programs, key);
	if (found)
		return found;
	bpf_map_update_elem(&programs, key, &fresh, BPF_NOEXIST);
	found = bpf_map_lookup_elem(&programs, key);
	return found ?: bpf_map_lookup_elem(&programs, &rest);
}

/* Not atomic: a longest time that two CPUs report at once may be the second longest. */
static __always_inline void add(u64 *sum, u64 *longest, u64 ns)
{
	__sync_fetch_and_add(sum, ns);
	if (ns > *longest)
		*longest = ns;
}

static __always_inline void take(const struct scxg_program *key, u64 ns)
{
	struct scxg_interference *by = of_program(key);

	if (!by)
		return;
	add(&by->taken_ns, &by->taken_max_ns, ns);
	__sync_fetch_and_add(&by->taken, 1);
}

/* Charge a wait that ends @now to the runs in which it passed. */
static __always_inline void charge(const struct runs *runs, u64 since, u64 now)
{
	struct scxg_program rest = {};
	u64 until = now;
	u32 i;

	for (i = 0; i < RUNS - 1; i++) { /* the run that begins has a slot too */
		const struct run *run = &runs->run[(runs->nr - i) & (RUNS - 1)];

		if (!run->since)
			break;
		if (run->by.class_id != IDLE)
			take(&run->by, until - scxg_max(run->since, since));
		until = run->since;
		if (until <= since)
			return;
	}
	take(&rest, until - since);
}

/* Note the run of @p that begins. */
static __always_inline void begin_run(struct run *run, struct task_struct *p, u64 now)
{
	u32 is_bulk;

	run->since = now;
	if (!p->pid) {
		run->by.class_id = IDLE;
		return;
	}
	run->by.class_id = scxg_classify(p, &is_bulk);
	/* Two loads: the kernel aligns comm and pads it with zeros (__set_task_comm). */
	if (p->flags & PF_WQ_WORKER) /* each has a name of its own, after its pool */
		__builtin_memcpy(run->by.name, WORKER, sizeof(run->by.name));
	else
		__builtin_memcpy(run->by.name, __builtin_assume_aligned(p->group_leader->comm, 8),
				 sizeof(run->by.name));
}

/* Account for the run of @p that ends: it waits from now on if it is still runnable. */
static __always_inline void end_run(const struct run *run, struct task_struct *p, bool is_runnable,
				    u64 now)
{
	struct scxg_interference *of;
	u64 *since;

	if (!run->since || !is_counted(run->by.class_id))
		return;
	since = bpf_task_storage_get(&waits_since, p, NULL,
				     is_runnable ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
	if (since)
		*since = is_runnable ? now : 0;
	if (run->by.class_id != SCXG_CLASS_BACKGROUND)
		return;
	of = of_program(&run->by);
	if (!of)
		return;
	add(&of->waited_ns, &of->waited_max_ns, run->waited);
	__sync_fetch_and_add(&of->ran_ns, now - run->since);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(count_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	u64 now = bpf_ktime_get_ns(), *since, waited;
	struct runs *runs;
	struct run *run;
	u32 zero = 0;

	runs = bpf_map_lookup_elem(&cpu_runs, &zero);
	if (!runs)
		return 0;
	end_run(&runs->run[runs->nr & (RUNS - 1)], prev, preempt || !prev_state, now);
	run = &runs->run[(runs->nr + 1) & (RUNS - 1)];
	begin_run(run, next, now);
	if (is_counted(run->by.class_id)) {
		since = bpf_task_storage_get(&waits_since, next, NULL, 0);
		waited = since && *since && *since < now ? now - *since : 0;
		if (since)
			*since = 0;
		run->waited = waited;
		if (waited && run->by.class_id == SCXG_CLASS_GAME)
			charge(runs, now - waited, now);
	}
	runs->nr++;
	return 0;
}

/* The wait of a thread that was preempted began there. */
SEC("tp_btf/sched_wakeup")
int BPF_PROG(count_wakeup, struct task_struct *p)
{
	u32 is_bulk;
	u64 *since;

	if (!is_counted(scxg_classify(p, &is_bulk)))
		return 0;
	since = bpf_task_storage_get(&waits_since, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (since && !*since)
		*since = bpf_ktime_get_ns();
	return 0;
}
