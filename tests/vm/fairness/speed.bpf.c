/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads the speed that each CPU's run queue passes to schedutil. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct scx_rq {
	u32 cpuperf_target;
} __attribute__((preserve_access_index));

struct rq {
	struct scx_rq scx;
} __attribute__((preserve_access_index));

extern const struct rq runqueues __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u32);
} targets SEC(".maps");

SEC("syscall")
int read_targets(void *unused)
{
	u32 cpu;

	bpf_for(cpu, 0, 64)
	{
		const struct rq *rq = bpf_per_cpu_ptr(&runqueues, cpu);
		u32 *target = bpf_map_lookup_elem(&targets, &cpu);

		if (rq && target)
			*target = rq->scx.cpuperf_target;
	}
	return 0;
}
