/* SPDX-License-Identifier: GPL-2.0-only */
/* One of each thing that the binding handles, for its tests. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

struct scxg_probe_record {
	u64 number;
	u64 value;
};

struct scxg_probe_record scxg_anchor_record = {};
const volatile u64 step = 1;

/* Records that `emit` writes and the test reads. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} out SEC(".maps");

/* Records that the test writes and `drain` reads. */
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} in SEC(".maps");

/* Read and written by both sides without a call. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 3);
	__type(key, u32);
	__type(value, struct scxg_probe_record);
} shared SEC(".maps");

/* For lookups, updates and walks. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, u64);
} table SEC(".maps");

/* Writes one record; 1 when the ring was full. */
SEC("syscall")
int emit(void *unused)
{
	struct scxg_probe_record *state, *record;
	u32 zero = 0;

	state = bpf_map_lookup_elem(&shared, &zero);
	record = bpf_ringbuf_reserve(&out, sizeof(*record), 0);
	if (!state || !record) {
		if (record)
			bpf_ringbuf_discard(record, 0);
		return 1;
	}
	state->number += step;
	record->number = state->number;
	record->value = state->value;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

static long on_record(struct bpf_dynptr *dynptr, void *context)
{
	struct scxg_probe_record *state, record;
	u32 two = 2;

	state = bpf_map_lookup_elem(&shared, &two);
	if (!state || bpf_dynptr_read(&record, sizeof(record), dynptr, 0, 0))
		return 1;
	state->number++;
	state->value += record.value;
	return 0;
}

SEC("syscall")
int drain(void *unused)
{
	return bpf_user_ringbuf_drain(&in, on_record, NULL, 0);
}

/* Counts what is executed while it is attached. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(count_exec)
{
	struct scxg_probe_record *state;
	u32 one = 1;

	state = bpf_map_lookup_elem(&shared, &one);
	if (state)
		__sync_fetch_and_add(&state->number, 1);
	return 0;
}
