/* SPDX-License-Identifier: GPL-2.0-only */
/* input: from the end of an input report until a reader that it woke runs, by the reader's name. */
#define EV_SYN 0

/* Start of the report that this CPU delivers; 0 outside of one. Reports are delivered with interrupts off. */
BPF_PERCPU_ARRAY(delivering, u64, 1);
BPF_HASH(readers, u32, u64, 4096);

int on_report(struct pt_regs *ctx)
{
	u64 now = bpf_ktime_get_ns();
	int zero = 0;

	if ((u32)PT_REGS_PARM2(ctx) == EV_SYN)
		delivering.update(&zero, &now);
	return 0;
}

int on_delivered(struct pt_regs *ctx)
{
	u64 none = 0;
	int zero = 0;

	delivering.update(&zero, &none);
	return 0;
}

TRACEPOINT_PROBE(sched, sched_waking)
{
	u32 tid = args->pid;
	int zero = 0;
	u64 *since = delivering.lookup(&zero);

	/* a reader that has not run yet keeps the time of the first report */
	if (since && *since)
		readers.insert(&tid, since);
	return 0;
}

TRACEPOINT_PROBE(sched, sched_switch)
{
	u32 in = args->next_pid;
	u64 *since = readers.lookup(&in);
	struct bucket key = {};

	if (!since)
		return 0;
	bpf_probe_read_kernel(key.name, NAME, args->next_comm);
	count(&key, bpf_ktime_get_ns() - *since);
	readers.delete(&in);
	return 0;
}
