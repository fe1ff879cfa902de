/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Probes of the kind `kprobe.multi`: the way to functions that may be in a module for CAP_BPF and CAP_PERFMON alone.
 * fentry needs the BTF of the module, which the kernel gives to CAP_SYS_ADMIN (bpf_btf_get_fd_by_id()). A probe of the
 * other kind takes perf_event_open(), which Debian leaves to CAP_SYS_ADMIN as well (kernel.perf_event_paranoid is 3).
 */
#ifndef SCXG_PROBES_H
#define SCXG_PROBES_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/*
 * Register @x86 of the probe's context, or the one that an arm64 kernel has in its place. The barrier keeps the compiler
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

#endif /* SCXG_PROBES_H */
