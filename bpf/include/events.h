/* SPDX-License-Identifier: GPL-2.0-only */
/* The one place where events are reserved, for both objects. */
#ifndef SCXG_EVENTS_H
#define SCXG_EVENTS_H

#include "abi.h"
#include "shared_maps.h"
#include <bpf/bpf_helpers.h>

/*
 * Reserve an event, zeroed except for version and type. The caller fills in the rest, generation and time first, and
 * submits it. Return NULL while the ring is full; the caller counts the loss, because each object has its own counter.
 */
static __always_inline struct scxg_event *scxg_event_begin(u16 type)
{
	struct scxg_event *ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);

	if (!ev)
		return NULL;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->version = SCXG_ABI_VERSION;
	ev->type = type;
	return ev;
}

#endif /* SCXG_EVENTS_H */
