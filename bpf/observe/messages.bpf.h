/* SPDX-License-Identifier: GPL-2.0-only */
/* The supervisor's messages, drained from the control ring. */
#ifndef SCXG_OBSERVE_MESSAGES_H
#define SCXG_OBSERVE_MESSAGES_H

#include "input.bpf.h"
#include "window.bpf.h"

/* Messages from the supervisor, its one producer; emptied by `drain`. */
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, SCXG_CONTROL_RING_BYTES);
} control_ring SEC(".maps");

struct drain_ctx {
	struct scxg_control *ctl;
	u64 now;
};

static __always_inline bool class_set(struct scxg_control *ctl, const struct scxg_msg *msg, u64 now)
{
	struct scxg_class_entry entry = {
	    .class_id = msg->class_id,
	    .start_ns = msg->start_ns,
	};
	u32 tgid = msg->tgid;

	if (!tgid || msg->class_id >= SCXG_CLASS_KTHREAD)
		return false;
	if (bpf_map_update_elem(&classes, &tgid, &entry, BPF_ANY))
		return false;
	__sync_fetch_and_add(&ctl->class_epoch, 1);
	if (msg->value && msg->time_ns < now) {
		u64 delay = now - msg->time_ns;

		ctl->class_delay_hist[scxg_wait_bucket(delay) & (SCXG_WAIT_BUCKETS - 1)]++;
		ctl->class_delay_sum_ns += delay;
		ctl->class_delay_max_ns = scxg_max(ctl->class_delay_max_ns, delay);
	}
	return true;
}

static __always_inline bool held_set(struct scxg_control *ctl, const struct scxg_msg *msg, u64 now)
{
	struct scxg_windows *win = scxg_windows();
	struct scxg_device *device;
	u32 slot = msg->index;

	device = bpf_map_lookup_elem(&devices, &slot);
	if (!device || !has_lane(device) || !win || msg->value & ~(u64)SCXG_HELD_ALL)
		return false;
	set_held(device, msg->value, 0);
#pragma unroll
	for (u32 lane = SCXG_LANE_NONE + 1; lane < SCXG_NR_LANES; lane++)
		if (held_in(msg->value, lane))
			extend_window(ctl, &win->lane[lane], lane, now, 0,
				      now + SCXG_HELD_LEASE_MS * SCXG_NS_PER_MS);
	return true;
}

static __always_inline bool apply(struct scxg_control *ctl, const struct scxg_msg *msg, u64 now)
{
	struct scxg_tunables *tun = scxg_tunables();
	u32 index = msg->index, tgid = msg->tgid;

	if (!tun)
		return false;
	switch (msg->type) {
	case SCXG_MSG_HEARTBEAT:
		ctl->heartbeat_ns = now;
		return true;
	case SCXG_MSG_INPUT:
		if (index == SCXG_LANE_NONE || index >= SCXG_NR_LANES)
			return false;
		ctl->input_delay_ns = scxg_sub(now, msg->time_ns);
		ctl->input_delay_max_ns = scxg_max(ctl->input_delay_max_ns, ctl->input_delay_ns);
		/* The window begins at the time of the event; a time in the future does not make it longer. */
		open_window(ctl, index, SCXG_PATH_EVDEV, now,
			    scxg_min(msg->time_ns, now) + scxg_boost_ns(tun, index), 0);
		return true;
	case SCXG_MSG_HELD:
		return held_set(ctl, msg, now);
	case SCXG_MSG_CLASS_SET:
		return class_set(ctl, msg, now);
	case SCXG_MSG_CLASS_DEL:
		bpf_map_delete_elem(&classes, &tgid);
		__sync_fetch_and_add(&ctl->class_epoch, 1);
		return true;
	case SCXG_MSG_FOCUS:
		ctl->focus_tgid = tgid;
		ctl->focus_away = tgid && msg->value;
		return true;
	case SCXG_MSG_TUNABLE:
		if (index >= SCXG_NR_TUNABLES)
			return false;
		tun->value[index] = scxg_clamp_tunable(index, msg->value);
		return true;
	case SCXG_MSG_GAME_ACTIVE:
		ctl->game_active = msg->value != 0;
		return true;
	default:
		return false;
	}
}

static long on_message(struct bpf_dynptr *dynptr, void *context)
{
	struct drain_ctx *ctx = context;
	struct scxg_control *ctl = ctx->ctl;
	struct scxg_msg msg;
	long done;

	/* Return 1 after the last message of a batch, so that one run is bounded. */
	done = ++ctl->drain_seen >= SCXG_CONTROL_BATCH;

	if (bpf_dynptr_read(&msg, sizeof(msg), dynptr, 0, 0)) {
		ctl->msgs_unknown++;
		return done;
	}
	if (msg.version != SCXG_ABI_VERSION || msg.type == SCXG_MSG_NONE ||
	    msg.type >= SCXG_NR_MSGS) {
		ctl->msgs_unknown++;
		return done;
	}
	if (msg.generation != ctl->generation) {
		ctl->msgs_stale++;
		return done;
	}
	if (apply(ctl, &msg, ctx->now))
		ctl->msgs[msg.type & (SCXG_MSG_SLOTS - 1)]++;
	else
		ctl->msgs_invalid++;
	return done;
}

/* Drain the ring, once per pass of the supervisor's loop. Return the number of messages read. */
SEC("syscall")
int drain(void *unused)
{
	struct drain_ctx ctx = {.ctl = scxg_control(), .now = bpf_ktime_get_ns()};

	if (!ctx.ctl)
		return 0;
	/* The count is in the map, because the verifier would walk every value of a local. */
	ctx.ctl->drains++;
	ctx.ctl->drain_seen = 0;
	bpf_user_ringbuf_drain(&control_ring, on_message, &ctx, 0);
	return ctx.ctl->drain_seen;
}

#endif /* SCXG_OBSERVE_MESSAGES_H */
