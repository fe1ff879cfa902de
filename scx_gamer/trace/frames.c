/* SPDX-License-Identifier: GPL-2.0-only */
/* frames: the time between two page flips, or two calls of a chosen function, in one thread of TARGET. */
BPF_HASH(last, u32, u64, 4096);

int on_frame(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 now = bpf_ktime_get_ns(), *before;
	struct bucket key = {};

	if (!is_target())
		return 0;
	before = last.lookup(&tid);
	if (before) {
		bpf_get_current_comm(key.name, NAME);
		count(&key, now - *before);
	}
	if (last.update(&tid, &now))
		lose();
	return 0;
}
