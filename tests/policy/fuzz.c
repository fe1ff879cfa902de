/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libFuzzer's entry to policy.h and shaper.h: any bytes are facts, tunables and times; what the headers promise is
 * checked, and the sanitizers watch.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"
#include "shaper.h"

#define PROMISE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "broken: %s\n", #condition);                               \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct input {
	u64 burst, burst_avg, now, wait, value, far, near, length, rate, free_ns;
	u64 tun[SCXG_NR_TUNABLES];
	u32 maturity, class_id, index, direction;
	u8 game_active, window_open;
};

static void check_shaper(const struct input *in)
{
	u64 rate = 16000 + in->rate % 1250000000ULL, now = in->now >> 1, burst, leaves, cost, least;

	cost = scxg_net_cost_ns(in->length, rate);
	burst = scxg_net_burst_ns(rate, in->direction % 2);
	PROMISE(cost >= 1);
	PROMISE(in->length > SCXG_NET_MAX_LEN || cost <= in->length * SCXG_NET_NSEC / rate + 1);
	/* A slow line's is what a few full packets take, however long that is. */
	least = scxg_net_cost_ns(SCXG_NET_BURST_BYTES, rate);
	PROMISE(burst >= SCXG_NET_BURST_UP_MIN_NS && burst >= least);
	PROMISE(burst <= SCXG_NET_BURST_UP_MAX_NS || burst == least);
	leaves = scxg_net_departure_ns(in->free_ns >> 1, now, burst);
	PROMISE(leaves == 0 || (leaves >= now && leaves - now <= burst));
}

/* What a task owes moves its deadline by no more than its bound, whoever its rivals are. */
static void check_shares(const struct input *in, struct scxg_facts *f,
			 const struct scxg_tunables *tun)
{
	struct scxg_share share = {.weight = scxg_weight(in->index % 256),
				   .cpus = 1 + in->maturity % SCXG_MAX_CPUS,
				   .rivals = (s64)in->far >> 1};
	u64 now = in->now >> 1, bound = SCXG_DEADLINE_MAX_NS;

	if (share.weight < SCXG_WEIGHT)
		bound = SCXG_DEADLINE_LIGHT_NS;
	f->game_active = false;
	f->debt = scxg_debt_ran(in->length, in->wait);
	f->owed = (s64)(in->value % (bound - SCXG_DEBT_MAX_NS));
	f->owed = scxg_owed(f->owed, in->burst, &share, in->near);
	PROMISE(scxg_key(f, tun, now) <= now + bound);
	PROMISE(scxg_key(f, tun, now) + SCXG_CREDIT_MAX_NS >= now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scxg_tunables tun;
	struct scxg_facts f;
	struct input in;
	u64 now, key, rel, slice, clamped;

	memset(&in, 0, sizeof(in));
	memcpy(&in, data, size < sizeof(in) ? size : sizeof(in));
	f = (struct scxg_facts){
	    .burst = in.burst,
	    .burst_avg = in.burst_avg,
	    .maturity = in.maturity,
	    .class_id = in.class_id,
	    .game_active = in.game_active & 1,
	    .window_open = in.window_open & 1,
	    .is_urgent = in.window_open >> 1 & 1,
	};
	memcpy(tun.value, in.tun, sizeof(tun.value));
	now = in.now >> 1; /* centuries, and no wrap of now + D */
	rel = scxg_rel(&f, &tun);
	key = scxg_key(&f, &tun, now);
	slice = scxg_slice(f.class_id, f.game_active, &tun);
	PROMISE(rel <= SCXG_DEADLINE_MAX_NS);
	PROMISE(scxg_credit(&f) <= SCXG_CREDIT_MAX_NS);
	PROMISE(key <= now + SCXG_DEADLINE_MAX_NS);
	PROMISE(key + SCXG_CREDIT_MAX_NS >= now);
	/* A CPU that is kept free for the game never refuses the game. */
	PROMISE(!scxg_is_favoured(f.class_id) || key <= scxg_latest_shielded_key(now));
	/* A core where the game does not compute goes before one where it does, but for the last choice. */
	PROMISE(scxg_score_on_core(SCXG_SCORE_NORMAL, true) >
		scxg_score_on_core(in.index % SCXG_SCORE_FREE_CORE + 1, false));
	PROMISE(scxg_score_on_core(SCXG_SCORE_LAST, true) == SCXG_SCORE_LAST);
	PROMISE(slice >= SCXG_NS_PER_MS / 2 && slice <= SCXG_SLICE_MAX_NS);
	PROMISE(scxg_wait_bucket(in.wait) < SCXG_WAIT_BUCKETS);
	PROMISE(scxg_burst_avg(in.burst_avg % (10 * SCXG_DEADLINE_MAX_NS), in.burst, in.maturity) <=
		10 * SCXG_DEADLINE_MAX_NS + 3);
	PROMISE(scxg_boost_ns(&tun, in.index) <= 2000 * SCXG_NS_PER_MS);
	clamped = scxg_clamp_tunable(in.index, in.value);
	PROMISE(scxg_clamp_tunable(in.index, clamped) == clamped);
	PROMISE(!(scxg_is_overdue(in.far, in.near) && scxg_is_overdue(in.near, in.far)));
	check_shaper(&in);
	check_shares(&in, &f, &tun);
	return 0;
}
