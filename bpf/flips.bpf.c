/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When screens showed a new picture, and which process had asked for it. Loaded while a game runs that no better source
 * tells the frames of.
 *
 * A flip is over when its event is sent to who asked. Every driver of 6.12 to 7.2 sends it through the function hooked here;
 * the tracepoint drm_vblank_event_delivered does not tell a flip from a vblank that a program waits for.
 *
 * DRM is a module in many kernels, and its functions are probed as docs/frames.md says. So no field of DRM's own structs is
 * read: the call that announces the event has it as an argument, and its layout is that of include/uapi/drm/drm.h.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "mapped.h"
#include "registers.h"

#define DRM_EVENT_FLIP_COMPLETE 2

struct drm_event_vblank {
	u32 type, length;
	u64 user_data;
	u32 tv_sec, tv_usec, sequence, crtc_id;
};

char _license[] SEC("license") = "GPL";

/* An entry a screen, for those that came first. Written by the hooks, read by Python by mapping. */
MAPPED_ARRAY(flips, struct scxg_flips, SCXG_MAX_SCREENS);

enum scxg_flip_limits scxg_anchor_flip_limits = 0;

/* The entry of a screen, a free one if it has none yet. */
static __always_inline struct scxg_flips *of_screen(u64 screen)
{
	struct scxg_flips *of;
	u32 i;

	for (i = 0; i < SCXG_MAX_SCREENS; i++) {
		u32 key = i;

		of = bpf_map_lookup_elem(&flips, &key);
		if (!of)
			return NULL;
		if (of->screen == screen)
			return of;
		if (!of->screen && !__sync_val_compare_and_swap(&of->screen, 0, screen))
			return of;
	}
	return NULL;
}

/* drm_event_reserve_init(dev, file, pending, event), called by who asks for a flip. */
SEC("kprobe.multi/drm_event_reserve_init")
int on_flip_request(void *ctx)
{
	struct drm_event_vblank *at = (void *)SCXG_ARG3(ctx), event;
	struct scxg_flip_request *request;
	struct scxg_flips *of;

	if (bpf_probe_read_kernel(&event, sizeof(event), at) ||
	    event.type != DRM_EVENT_FLIP_COMPLETE)
		return 0;
	/* The struct of a device is longer than the number of an object of it. */
	of = of_screen(SCXG_ARG0(ctx) + event.crtc_id);
	if (!of)
		return 0;
	of->tgid = bpf_get_current_pid_tgid() >> 32;
	request = &of->requests[of->nr_requests++ & (SCXG_FLIP_REQUESTS - 1)];
	request->sequence_at = (u64)&at->sequence;
	request->pending = SCXG_ARG2(ctx);
	return 0;
}

static __always_inline void count(struct scxg_flips *of, struct scxg_flip_request *request)
{
	u32 slot = of->nr & (SCXG_FLIP_SLOTS - 1);

	request->pending = 0;
	if (bpf_probe_read_kernel(&of->vblanks[slot], sizeof(u32), (void *)request->sequence_at))
		return;
	/* Not the event's time: that of a flip that does not wait for the vblank is the vblank before. */
	of->at_ns[slot] = bpf_ktime_get_ns();
	barrier(); /* a reader that sees the number sees the time */
	of->nr++;
}

/* drm_send_event_timestamp_locked(dev, pending, timestamp), with the lock of the device's events held. */
SEC("kprobe.multi/drm_send_event_timestamp_locked")
int on_flip_event(void *ctx)
{
	u64 pending = SCXG_ARG1(ctx);
	u32 i, j;

	for (i = 0; i < SCXG_MAX_SCREENS; i++) {
		u32 key = i;
		struct scxg_flips *of = bpf_map_lookup_elem(&flips, &key);

		if (!of || !of->screen)
			return 0;
		for (j = 0; j < SCXG_FLIP_REQUESTS; j++) {
			if (of->requests[j].pending == pending) {
				count(of, &of->requests[j]);
				return 0;
			}
		}
	}
	return 0;
}
