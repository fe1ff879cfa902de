/* SPDX-License-Identifier: GPL-2.0-only */
/* who-preempts: how long a runnable thread of TARGET was off its CPU, by the name of the thread that got the CPU. */
struct taken {
	u64 at;
	char by[NAME];
};
BPF_HASH(off, u32, struct taken, 16384);

TRACEPOINT_PROBE(sched, sched_switch)
{
	u32 out = args->prev_pid, in = args->next_pid;
	struct bucket key = {};
	struct taken taken = {}, *found;
	u64 now = bpf_ktime_get_ns();

	if (!(args->prev_state & STATE_MASK) && threads.lookup(&out)) {
		taken.at = now;
		if (in)
			bpf_probe_read_kernel(taken.by, NAME, args->next_comm);
		if (off.update(&out, &taken))
			lose();
	}
	found = off.lookup(&in);
	if (!found)
		return 0;
	__builtin_memcpy(key.name, found->by, NAME);
	count(&key, now - found->at);
	off.delete(&in);
	return 0;
}
