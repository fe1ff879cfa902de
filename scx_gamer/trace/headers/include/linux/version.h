/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc takes the running kernel's version by itself; no probe here depends on it. */
#pragma once
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(6, 12, 0)
