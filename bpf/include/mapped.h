/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SCXG_MAPPED_H
#define SCXG_MAPPED_H

#include <bpf/bpf_helpers.h>

/* An array that Python maps into its memory, so that it reads and writes values without system calls. */
#define MAPPED_ARRAY(name, entry, entries)                                                         \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__uint(max_entries, entries);                                                      \
		__type(key, u32);                                                                  \
		__type(value, entry);                                                              \
	} name SEC(".maps")

#endif /* SCXG_MAPPED_H */
