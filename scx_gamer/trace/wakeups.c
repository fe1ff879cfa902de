/* SPDX-License-Identifier: GPL-2.0-only */
/* wakeups: from the wake-up of a thread of TARGET until it runs, by the name of its waker. */
struct wake {
	u64 at;
	char waker[NAME];
};
BPF_HASH(woken, u32, struct wake, 16384);

TRACEPOINT_PROBE(sched, sched_waking)
{
	u32 tid = args->pid;
	struct wake wake = {};

	if (!threads.lookup(&tid))
		return 0;
	wake.at = bpf_ktime_get_ns();
	/* the idle task wakes no thread: the waker is an interrupt */
	if ((u32)bpf_get_current_pid_tgid())
		bpf_get_current_comm(wake.waker, NAME);
	if (woken.update(&tid, &wake))
		lose();
	return 0;
}

TRACEPOINT_PROBE(sched, sched_switch)
{
	u32 out = args->prev_pid, in = args->next_pid;
	struct bucket key = {};
	struct wake *wake;

	/* woken while still on the CPU: no wait */
	woken.delete(&out);
	wake = woken.lookup(&in);
	if (!wake)
		return 0;
	__builtin_memcpy(key.name, wake->waker, NAME);
	count(&key, bpf_ktime_get_ns() - wake->at);
	woken.delete(&in);
	return 0;
}
