/* SPDX-License-Identifier: GPL-2.0-only */
/* Registers as a kprobe or uprobe sees them: part of the kernel's stable interface. */
#pragma once

#if defined(__x86_64__)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#elif defined(__aarch64__)
struct user_pt_regs {
	unsigned long regs[31];
	unsigned long sp, pc, pstate;
};
struct pt_regs {
	unsigned long regs[31];
	unsigned long sp, pc, pstate;
	unsigned long orig_x0;
};
#else
#error "trace knows the registers of x86_64 and arm64"
#endif
