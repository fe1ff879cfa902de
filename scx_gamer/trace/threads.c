/* SPDX-License-Identifier: GPL-2.0-only */
/* Add the threads that TARGET creates while the probe runs. */
TRACEPOINT_PROBE(task, task_newtask)
{
	u32 tid = args->pid;
	u8 one = 1;

	if (is_target() && (args->clone_flags & NEW_THREAD))
		threads.update(&tid, &one);
	return 0;
}
