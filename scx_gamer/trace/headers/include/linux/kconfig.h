/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc includes this first. Its own helpers ask for nothing of a kernel's configuration but this. */
#pragma once
#define CONFIG_BPF_SYSCALL 1
