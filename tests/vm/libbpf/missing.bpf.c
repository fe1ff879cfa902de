/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls a kfunc that no kernel has. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

void scx_bpf_there_is_no_such_kfunc(void) __ksym;

SEC("syscall")
int calls_it(void *unused)
{
	scx_bpf_there_is_no_such_kfunc();
	return 0;
}
