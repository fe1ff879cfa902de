/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `cpuperf`: the speed that schedutil is asked for. Without a request it keeps each CPU at its highest frequency while a
 * sched_ext scheduler runs. The CPU of the game and of critical programs is asked for full speed, all others for as much
 * as they were used in the last window; schedutil adds its own headroom.
 */
#ifndef SCXG_SCHED_SPEED_H
#define SCXG_SCHED_SPEED_H

#include "queue.bpf.h"
#include "task.bpf.h"

#define SPEED_WINDOW_NS (10 * SCXG_NS_PER_MS)

/* Time that the running task adds to the window. */
static __always_inline u64 ran_in_window(const struct cpu_ctx *cc, u64 now)
{
	return cc->run_since ? now - scxg_min(scxg_max(cc->run_since, cc->speed_since), now) : 0;
}

static __always_inline void request_speed(s32 cpu, struct cpu_ctx *cc, u32 speed)
{
	if (speed == cc->speed)
		return;
	cc->speed = speed;
	if (bpf_ksym_exists(scx_bpf_cpuperf_set))
		scx_bpf_cpuperf_set(cpu, speed);
}

/* Called on the CPU itself, as the kernel demands while its run queue is locked. */
static __always_inline void update_speed(s32 cpu, struct cpu_ctx *cc, u64 now)
{
	const struct scxg_tunables *tun = scxg_tunables();
	u64 window = now - scxg_min(cc->speed_since, now);
	u32 speed;

	if (!tun || (s32)bpf_get_smp_processor_id() != cpu)
		return;
	if (!tun->value[SCXG_TUN_CPUPERF]) {
		if (cc->speed) /* switched off: as without a request */
			request_speed(cpu, cc, SCXG_SPEED_FULL);
		return;
	}
	if (!scxg_is_favoured(cc->class_id) && window < SPEED_WINDOW_NS)
		return;
	speed = scxg_is_favoured(cc->class_id)
		    ? SCXG_SPEED_FULL
		    : scxg_speed(cc->busy_ns + ran_in_window(cc, now), window);
	if (window >= SPEED_WINDOW_NS) {
		cc->busy_ns = 0;
		cc->speed_since = now;
	}
	request_speed(cpu, cc, speed);
}

#endif /* SCXG_SCHED_SPEED_H */
