// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * shaper.h on the host. A request is four words: 0 rate direction packets, followed by as many pairs of nanoseconds
 * since the packet before and length; 1 address 0 0; 2 and two words with two halves of an IPv6 address each. The answer
 * to the first is a byte for each packet, 1 when it passed; to the others one byte, 1 for a local address.
 */
#include <stdio.h>
#include <stdlib.h>

#include "shaper.h"

static u8 one(u64 *free_ns, u64 now, u64 len, u64 rate, u32 dir)
{
	u64 burst = scxg_net_burst_ns(rate, dir);
	u64 departure = scxg_net_departure_ns(*free_ns, now, burst);

	if (!departure)
		return 0;
	if (departure < now || departure - now > burst)
		abort();
	*free_ns = departure + scxg_net_cost_ns(len, rate);
	return 1;
}

int main(void)
{
	u64 req[4], pair[2];

	while (fread(req, sizeof(req), 1, stdin) == 1) {
		u64 free_ns = 0, now = 1ULL << 40;

		if (req[0] == 1) {
			putchar(scxg_net_local4((u32)req[1]));
		} else if (req[0] == 2) {
			putchar(scxg_net_local6((u32)(req[1] >> 32), (u32)req[1],
						(u32)(req[2] >> 32), (u32)req[2]));
		} else {
			u8 *out = calloc(req[3] + 1, 1);

			for (u64 i = 0; i < req[3]; i++) {
				if (fread(pair, sizeof(pair), 1, stdin) != 1)
					return 1;
				now += pair[0];
				out[i] = one(&free_ns, now, pair[1], req[1], (u32)req[2]);
			}
			fwrite(out, 1, req[3], stdout);
			free(out);
		}
		fflush(stdout);
	}
	return 0;
}
