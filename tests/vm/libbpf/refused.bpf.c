/* SPDX-License-Identifier: GPL-2.0-only */
/* What a verifier must refuse: a read past the end of a map's value. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

/* One small value. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} one SEC(".maps");

SEC("syscall")
int reads_past_the_end(void *unused)
{
	u32 zero = 0;
	u64 *value = bpf_map_lookup_elem(&one, &zero);

	return value ? value[7] : 0;
}
