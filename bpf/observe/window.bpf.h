/* SPDX-License-Identifier: GPL-2.0-only */
/* Boost windows: opened and extended by input, from the hooks and from messages; read by the scheduler. */
#ifndef SCXG_OBSERVE_WINDOW_H
#define SCXG_OBSERVE_WINDOW_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "policy.h"
#include "shared_maps.h"
#include "events.h"

/* Reserve an event; count it as lost when the ring is full. */
static __always_inline struct scxg_event *event_begin(struct scxg_control *ctl, u16 type)
{
	struct scxg_event *ev = scxg_event_begin(type);

	if (!ev) {
		__sync_fetch_and_add(&ctl->events_lost, 1);
		return NULL;
	}
	ev->generation = ctl->generation;
	ev->time_ns = bpf_ktime_get_ns();
	return ev;
}

/* The state of a lane. The mask behind the barrier is for older verifiers, which forget that lane was checked. */
static __always_inline struct scxg_lane_state *lane_state(struct scxg_windows *win, u32 lane)
{
	_Static_assert((SCXG_NR_LANES & (SCXG_NR_LANES - 1)) == 0, "the mask needs a power of two");
	asm volatile("" : "+r"(lane));
	return &win->lane[lane & (SCXG_NR_LANES - 1)];
}

/* Keep a lane's window open until the latest of `until`, `held_until` and its present ends. */
static __always_inline void extend_window(struct scxg_control *ctl, struct scxg_lane_state *state,
					  u32 lane, u64 now, u64 until, u64 held_until)
{
	bool was_open = now < scxg_max(state->until_ns, state->held_until_ns);
	struct scxg_event *ev;

	state->until_ns = scxg_max(state->until_ns, until);
	state->held_until_ns = scxg_max(state->held_until_ns, held_until);
	if (was_open)
		return;
	state->opened++;
	/* The supervisor then polls held keys, which matter only while a game runs. */
	if (!ctl->game_active)
		return;
	ev = event_begin(ctl, SCXG_EV_WINDOW);
	if (ev) {
		ev->lane = lane;
		bpf_ringbuf_submit(ev, 0);
	}
}

/* Open a lane's window after an input event, which came by one of the two paths. */
static __always_inline void open_window(struct scxg_control *ctl, u32 lane, u32 path, u64 now,
					u64 until, u64 held_until)
{
	struct scxg_windows *win = scxg_windows();
	struct scxg_lane_state *state;

	if (!win || lane == SCXG_LANE_NONE || lane >= SCXG_NR_LANES || path >= SCXG_NR_PATHS)
		return;
	state = lane_state(win, lane);
	extend_window(ctl, state, lane, now, until, held_until);
	state->events[path & (SCXG_NR_PATHS - 1)]++;
	if (path == SCXG_PATH_KERNEL) {
		win->input_cpu = bpf_get_smp_processor_id();
		win->input_ns = now;
	}
}

#endif /* SCXG_OBSERVE_WINDOW_H */
