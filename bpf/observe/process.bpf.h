/* SPDX-License-Identifier: GPL-2.0-only */
/* Processes: exec, fork, rename and exit of those that are followed. */
#ifndef SCXG_OBSERVE_PROCESS_H
#define SCXG_OBSERVE_PROCESS_H

#include "window.bpf.h"

/*
 * First 15 characters of a program's name -> enum scxg_name_flag. Written by the game detector, from the names in its
 * rules; read at each exec, so that the exec of any other program never leaves the kernel.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_MAX_NAMES);
	__type(key, char[SCXG_COMM_LEN]);
	__type(value, u32);
} names SEC(".maps");

/* Followed processes: their exec, fork, rename and exit are events. Written by the hooks and the game detector. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_MAX_TRACKED);
	__type(key, u32);
	__type(value, struct scxg_tracked);
} tracked SEC(".maps");

static __always_inline void process_event(struct scxg_control *ctl, u16 type, struct task_struct *p,
					  u64 value, const char *filename)
{
	struct scxg_event *ev = event_begin(ctl, type);

	if (!ev)
		return;
	ev->tgid = p->tgid;
	ev->parent_tgid = p->real_parent->tgid;
	ev->start_ns = p->group_leader->start_boottime;
	ev->value = value;
	bpf_probe_read_kernel_str(ev->comm, sizeof(ev->comm), p->comm);
	if (filename)
		bpf_probe_read_kernel_str(ev->filename, sizeof(ev->filename), filename);
	bpf_ringbuf_submit(ev, 0);
}

/* Return true if this process is followed: as part of a tree, by its name, or because it has a class. */
static __always_inline bool is_followed(u32 tgid)
{
	return bpf_map_lookup_elem(&tracked, &tgid) || bpf_map_lookup_elem(&classes, &tgid);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
{
	struct scxg_control *ctl = scxg_control();
	struct scxg_tracked *known, entry = {};
	char name[SCXG_COMM_LEN] = {};
	u32 tgid = p->tgid, *flags;

	if (!ctl)
		return 0;
	__sync_fetch_and_add(&ctl->execs, 1);
	/* The kernel has just set comm to the name of the file. */
	bpf_probe_read_kernel_str(name, sizeof(name), p->comm);
	flags = bpf_map_lookup_elem(&names, name);
	if (flags) {
		entry.start_ns = p->group_leader->start_boottime;
		entry.flags = *flags;
		known = bpf_map_lookup_elem(&tracked, &tgid);
		if (known)
			entry.flags |= known->flags;
		bpf_map_update_elem(&tracked, &tgid, &entry, BPF_ANY);
	} else if (!ctl->watch_execs && !is_followed(tgid)) {
		return 0;
	}
	__sync_fetch_and_add(&ctl->execs_told, 1);
	process_event(ctl, SCXG_EV_EXEC, p, 0, bprm->filename);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *p)
{
	struct scxg_control *ctl = scxg_control();
	bool was_followed;
	u32 tgid = p->tgid;

	/* The process ends with its last thread, whichever thread that is. */
	if (!ctl || p->signal->live.counter > 0)
		return 0;
	__sync_fetch_and_add(&ctl->exits, 1);
	was_followed = !bpf_map_delete_elem(&tracked, &tgid);
	if (!bpf_map_delete_elem(&classes, &tgid) || was_followed || ctl->watch_execs)
		process_event(ctl, SCXG_EV_EXIT, p, p->exit_code, NULL);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct scxg_control *ctl = scxg_control();
	struct scxg_tracked *known, follow = {};
	struct scxg_class_entry *entry, copy;
	u32 tgid = parent->tgid, child_tgid = child->tgid;

	if (!ctl || tgid == child_tgid)
		return 0;
	__sync_fetch_and_add(&ctl->forks, 1);
	known = bpf_map_lookup_elem(&tracked, &tgid);
	if (known && known->flags & SCXG_NAME_TREE) {
		follow.start_ns = child->start_boottime;
		follow.flags = known->flags;
		bpf_map_update_elem(&tracked, &child_tgid, &follow, BPF_ANY);
	}
	entry = bpf_map_lookup_elem(&classes, &tgid);
	/* The child of a compositor is not a compositor: that class is not inherited. */
	if (entry && entry->class_id != SCXG_CLASS_CRITICAL) {
		copy = *entry;
		copy.start_ns = child->start_boottime;
		bpf_map_update_elem(&classes, &child_tgid, &copy, BPF_ANY);
	} else if (!follow.flags) {
		return 0;
	}
	process_event(ctl, SCXG_EV_FORK, child, 0, NULL);
	return 0;
}

/* Wine names a process after the program it runs once it has read the command line. */
SEC("tp_btf/task_rename")
int BPF_PROG(on_rename, struct task_struct *p, const char *comm)
{
	struct scxg_control *ctl = scxg_control();

	if (!ctl || p->pid != p->tgid || !is_followed(p->tgid))
		return 0;
	process_event(ctl, SCXG_EV_RENAME, p, 0, NULL);
	return 0;
}

#endif /* SCXG_OBSERVE_PROCESS_H */
