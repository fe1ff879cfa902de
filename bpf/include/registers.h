/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arguments and results in the registers of a probe's context, or of a task that is in a system call. A field of the
 * kernel's structs is asked for, not the architecture, since one object serves all.
 */
#ifndef SCXG_REGISTERS_H
#define SCXG_REGISTERS_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/*
 * Register @x86 of the registers @ctx, or the one that an arm64 kernel has in its place. The barrier keeps the compiler
 * from making one load of both, from a sum that the verifier does not take for the context.
 */
#define SCXG_REGISTER(ctx, x86, arm64)                                                             \
	({                                                                                         \
		u64 value;                                                                         \
		if (bpf_core_field_exists(struct pt_regs___x86_64, x86)) {                         \
			value = ((struct pt_regs___x86_64 *)(ctx))->x86;                           \
			barrier_var(value);                                                        \
		} else {                                                                           \
			value = ((struct pt_regs___aarch64 *)(ctx))->regs[arm64];                  \
		}                                                                                  \
		value;                                                                             \
	})

#define SCXG_ARG0(ctx) SCXG_REGISTER(ctx, di, 0)
#define SCXG_ARG1(ctx) SCXG_REGISTER(ctx, si, 1)
#define SCXG_ARG2(ctx) SCXG_REGISTER(ctx, dx, 2)
#define SCXG_ARG3(ctx) SCXG_REGISTER(ctx, cx, 3)
#define SCXG_RETURNED(ctx) SCXG_REGISTER(ctx, ax, 0)

#endif /* SCXG_REGISTERS_H */
