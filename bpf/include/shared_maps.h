/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Maps that both objects use. observe owns them for the life of the supervisor; each new sched object is handed
 * the same ones by fd.
 */
#ifndef SCXG_SHARED_MAPS_H
#define SCXG_SHARED_MAPS_H

#include "abi.h"
#include "mapped.h"

/* Boost windows. Written by observe, read by sched and Python. */
MAPPED_ARRAY(windows, struct scxg_windows, 1);

/* Live tunables. Written by observe's drain (clamped), read by both and by Python. */
MAPPED_ARRAY(tunables, struct scxg_tunables, 1);

/* What the supervisor told us. Generation and flags by Python, the rest by observe's drain. */
MAPPED_ARRAY(control, struct scxg_control, 1);

/* tgid -> class. Written by the drain and by the fork hook, read by sched when the epoch changed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_MAX_CLASSES_TRACKED);
	__type(key, u32);
	__type(value, struct scxg_class_entry);
} classes SEC(".maps");

/* Events for the supervisor's loop, from both objects. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SCXG_EVENT_RING_BYTES);
} events SEC(".maps");

static __always_inline struct scxg_control *scxg_control(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

static __always_inline struct scxg_windows *scxg_windows(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&windows, &zero);
}

static __always_inline struct scxg_tunables *scxg_tunables(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&tunables, &zero);
}

#endif /* SCXG_SHARED_MAPS_H */
