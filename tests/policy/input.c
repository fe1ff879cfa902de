// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * input_policy.h on the host. A request is eight words of 32 bits: 0 minimum maximum fuzz flat permille counted value
 * for an axis, answered with one byte, 1 when it acts, and eight of its dead zone; 1 type code value for the source of an
 * event, answered with a byte for it and one for whether it acts; 2 word for the bits of a word of keys, answered with
 * sixteen bytes, buttons and those that hold; 3 lane code permille for an axis of a lane, answered with a byte, 1 when
 * the player moves it, and four of its share; 4 lane minimum maximum any for whether axes rest where they are, answered
 * with one byte.
 */
#include <stdbool.h>
#include <stdio.h>

#include "input_policy.h"

static void axis(const s32 *req)
{
	struct scxg_absinfo a = {
	    .minimum = req[1], .maximum = req[2], .fuzz = req[3], .flat = req[4]};
	u64 dead = scxg_axis_dead(&a, (u32)req[5]);

	putchar(scxg_axis_acts(dead, req[6], req[7]));
	fwrite(&dead, sizeof(dead), 1, stdout);
}

int main(void)
{
	s32 req[8];

	while (fread(req, sizeof(req), 1, stdin) == 1) {
		u64 words[2] = {scxg_button_bits((u32)req[1]), scxg_holding_bits((u32)req[1])};
		u32 source = scxg_source_of((u32)req[1], (u32)req[2]);

		if (req[0] == 0) {
			axis(req);
		} else if (req[0] == 1) {
			putchar((int)source);
			putchar(scxg_value_acts(source, req[3]));
		} else if (req[0] == 3) {
			u32 share = scxg_axis_permille((u32)req[1], (u32)req[2], (u32)req[3]);

			putchar(scxg_is_axis((u32)req[1], (u32)req[2]));
			fwrite(&share, sizeof(share), 1, stdout);
		} else if (req[0] == 4) {
			struct scxg_absinfo x = {.minimum = req[2], .maximum = req[3]};

			putchar(scxg_is_rest((u32)req[1], &x, (u32)req[4]));
		} else {
			fwrite(words, sizeof(words), 1, stdout);
		}
		fflush(stdout);
	}
	return 0;
}
