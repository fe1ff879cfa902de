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

static __always_inline void request_speed(s32 cpu, struct cpu_ctx *cc, u32 speed)
{
	if (speed == cc->speed)
		return;
	cc->speed = speed;
	if (bpf_ksym_exists(scx_bpf_cpuperf_set))
		scx_bpf_cpuperf_set(cpu, speed);
}

/*
 * Called on the CPU itself, as the kernel demands while its run queue is locked. Within a window only the game's full
 * speed is to be asked for, so most calls end with the first comparison.
 */
static __always_inline void update_speed(s32 cpu, struct cpu_ctx *cc, u64 now)
{
	bool favoured = scxg_is_favoured(cc->class_id);
	const struct scxg_tunables *tun;
	u64 ran, window;

	if (now - cc->speed_since < SPEED_WINDOW_NS && (!favoured || cc->speed == SCXG_SPEED_FULL))
		return;
	tun = scxg_tunables();
	if (!tun || (s32)bpf_get_smp_processor_id() != cpu)
		return;
	ran = cc->run_since ? scxg_sub(now, cc->run_since) : 0;
	window = scxg_sub(now, cc->speed_since);
	if (tun->value[SCXG_TUN_CPUPERF])
		request_speed(cpu, cc,
			      favoured ? SCXG_SPEED_FULL : scxg_speed(cc->busy_ns + ran, window));
	else if (cc->speed) /* switched off: as without a request */
		request_speed(cpu, cc, SCXG_SPEED_FULL);
	if (window >= SPEED_WINDOW_NS) {
		cc->busy_ns = -ran;
		cc->speed_since = now;
	}
}

#endif /* SCXG_SCHED_SPEED_H */
