/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every function of policy.h on facts read from stdin: one struct in, one struct out, until the input ends. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "policy.h"

struct request {
	u64 burst, burst_avg, maturity, class_id, game_active, window_open, now, wait, index, value,
	    far, near, debt, slept, w_class_id, w_debt, is_short, is_kthread, pending, worker,
	    urgent, r_urgent, woke, period, steady, paid, smt, quota, beside, waker_link;
	u64 tun[SCXG_NR_TUNABLES];
};

struct answer {
	u64 rel, credit, key, slice, burst_avg, gives_way, bucket, clamped, boost, overdue, ran,
	    paid, handed, us, after_kick, beats, beat_period, beat_steady, beat_woke, paid_until,
	    may_be_urgent, may_all_be_urgent, quota_until, hold, link;
};

int main(void)
{
	struct request r;

	while (fread(&r, sizeof(r), 1, stdin) == 1) {
		struct scxg_facts f = {
		    .burst = r.burst,
		    .burst_avg = r.burst_avg,
		    .debt = r.debt,
		    .maturity = (u32)r.maturity,
		    .class_id = (u32)r.class_id,
		    .game_active = r.game_active != 0,
		    .window_open = r.window_open != 0,
		    .is_kthread = r.worker != 0,
		    .is_urgent = r.urgent != 0,
		};
		struct scxg_beat beat = {
		    .woke_ns = r.woke, .period_ns = r.period, .steady = (u32)r.steady};
		struct scxg_facts waker = f;
		struct scxg_running running = {
		    .burst = r.burst,
		    .debt = r.debt,
		    .class_id = (u32)r.class_id,
		    .is_short = r.is_short != 0,
		    .is_kthread = r.is_kthread != 0,
		    .is_urgent = r.r_urgent != 0,
		};
		struct scxg_tunables tun;
		struct answer a;
		u64 rate;

		for (int i = 0; i < SCXG_NR_TUNABLES; i++)
			tun.value[i] = r.tun[i];
		waker.class_id = (u32)r.w_class_id;
		waker.debt = r.w_debt;
		a = (struct answer){
		    .rel = scxg_rel(&f, &tun),
		    .credit = scxg_credit(&f),
		    .key = scxg_key(&f, &tun, r.now),
		    .slice = scxg_slice(f.class_id, f.game_active, &tun),
		    .burst_avg = scxg_burst_avg(r.burst_avg, r.burst, f.maturity),
		    .gives_way = scxg_preempt_score(&waker, &running),
		    .bucket = scxg_wait_bucket(r.wait),
		    .clamped = scxg_clamp_tunable((u32)r.index, r.value),
		    .boost = scxg_boost_ns(&tun, (u32)r.index),
		    .overdue = scxg_is_overdue(r.far, r.near),
		    .ran = scxg_debt_ran(r.debt, r.burst),
		    .after_kick = scxg_score_after_kick(scxg_preempt_score(&waker, &running),
							r.wait, r.pending != 0, r.value),
		    .paid = scxg_debt_slept(r.debt, r.slept),
		    .handed = scxg_may_insert_sync(r.far, r.near),
		    .us = scxg_us(r.wait),
		    .beats = scxg_beats(&beat, r.now, r.beside != 0),
		    .paid_until = scxg_paid(r.paid, scxg_core_ns(r.burst, r.smt != 0), r.now),
		    .may_be_urgent = scxg_may_be_urgent(&f, r.paid, r.now, r.smt != 0),
		    .may_all_be_urgent = scxg_may_all_be_urgent(r.paid, r.now),
		    .link = scxg_link(&f, r.steady >= SCXG_BEATS, (u32)r.waker_link),
		};
		/* The period in us; the burst that the quota allows as `value`. */
		rate = scxg_quota_rate(r.period, r.quota);
		a.quota_until = scxg_quota_until(r.paid, scxg_quota_saved(r.period, r.value, rate),
						 rate, r.burst, r.now);
		a.hold = scxg_hold(a.quota_until, r.now);
		a.beat_period = beat.period_ns;
		a.beat_steady = beat.steady;
		a.beat_woke = beat.woke_ns;
		fwrite(&a, sizeof(a), 1, stdout);
		fflush(stdout);
	}
	return 0;
}
