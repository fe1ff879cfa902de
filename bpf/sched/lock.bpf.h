/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Priority inversion: a thread of the game that goes to sleep for a lock lends its place to the thread that holds it.
 *
 * stopping reads the futex system call in which the game's thread sleeps, and the lock in its memory: who holds it is in
 * the lock word (priority inheritance, robust mutexes), or two words behind it (other mutexes of glibc). For one slice of
 * the game the holder has the game's class and is no victim; its own sleep, or its wake-up of the game, ends that earlier.
 * If it is queued, the CPU that the game's thread leaves moves it forward to the key of now, as if the game were queued in
 * its place: tasks that are due still go first, so the starvation bound does not change.
 *
 * A lock word is memory of the game, so what it says is a hint: the holder has to be a program of the game's user.
 * Nobody who does not share the lock with the game can name it. Not visible are locks that do not say who holds them:
 * read-write locks, semaphores, Wine's own (ntsync counts in Wine's thread ids), flock. Global functions as in queue.bpf.h.
 */
#ifndef SCXG_SCHED_LOCK_H
#define SCXG_SCHED_LOCK_H

#include "quota.bpf.h"
#include "registers.h"

#define LOCK_SCAN 256 /* queued tasks that are looked at for the holder */

/* include/uapi/linux/futex.h */
#define FUTEX_WAIT 0
#define FUTEX_LOCK_PI 6
#define FUTEX_WAIT_BITSET 9
#define FUTEX_LOCK_PI2 13
#define FUTEX_COMMAND 0x7f
#define FUTEX_WAITERS 0x80000000
#define FUTEX_TID 0x3fffffff
#define NR_FUTEX_X86_64 202
#define NR_FUTEX_AARCH64 98
#define CONTENDED 2 /* the word of a mutex that somebody waits for: glibc's lowlevellock.h */

/* Whether a task with the registers @regs is in the futex system call, and not in one of 32 bits. */
static __always_inline bool in_futex(const void *regs)
{
	const struct pt_regs___x86_64 *x86 = regs;
	const struct pt_regs___aarch64 *arm = regs;

	if (bpf_core_field_exists(x86->orig_ax))
		return x86->orig_ax == NR_FUTEX_X86_64;
	return bpf_core_field_exists(arm->syscallno) && arm->syscallno == NR_FUTEX_AARCH64;
}

/* The thread that holds the lock for which the current task goes to sleep, by its id; 0 if it waits for none. */
static __always_inline u32 read_lock_holder(struct task_struct *p)
{
	struct {
		u32 word, count, owner;
	} lock;
	void *regs = (void *)bpf_task_pt_regs(p);
	u32 op;

	if (!in_futex(regs))
		return 0;
	op = (u32)SCXG_ARG1(regs) & FUTEX_COMMAND;
	if (op != FUTEX_WAIT && op != FUTEX_WAIT_BITSET && op != FUTEX_LOCK_PI &&
	    op != FUTEX_LOCK_PI2)
		return 0;
	if (bpf_probe_read_user(&lock, sizeof(lock), (void *)SCXG_ARG0(regs)))
		return 0;
	if (lock.word & FUTEX_WAITERS)
		return lock.word & FUTEX_TID;
	return lock.word == CONTENDED && (u32)SCXG_ARG2(regs) == CONTENDED ? lock.owner : 0;
}

/* The task with an id of the current task's namespace. */
static __always_inline struct task_struct *task_of_id(struct task_struct *p, u32 tid)
{
	if (bpf_ksym_exists(bpf_task_from_vpid)) /* 6.14 on */
		return bpf_task_from_vpid(tid);
	return p->thread_pid->level ? NULL : bpf_task_from_pid(tid);
}

/* The current task, a thread of the game on @cpu, goes to sleep: lend its place if it waits for a lock. */
__noinline int lend_place(struct task_struct *p __arg_trusted, s32 cpu, u64 now)
{
	struct cpu_ctx *cc = get_cpu_ctx(cpu), *where;
	struct scxg_cpu_stats *stats = get_cpu_stats(cpu);
	struct task_struct *holder;
	struct task_ctx *tc;
	u32 tid;

	/* Another CPU may dequeue a task that is about to sleep: its registers and memory are not ours then. */
	if (p != bpf_get_current_task_btf() || !cc || !stats)
		return 0;
	tid = read_lock_holder(p);
	holder = tid ? task_of_id(p, tid) : NULL;
	if (!holder)
		return 0;
	tc = bpf_task_storage_get(&task_ctxs, holder, NULL, 0);
	if (tc && tc->generation == generation && !scxg_is_favoured(tc->class_id) &&
	    !(holder->flags & PF_KTHREAD) && holder->cred->uid.val == p->cred->uid.val) {
		tc->lent_until = now + SCXG_GAME_SLICE_NS;
		tc->lent_by = p->pid;
		stats->lock_lends++;
		if (scx_bpf_task_running(holder)) {
			where = get_cpu_ctx(scx_bpf_task_cpu(holder));
			if (where)
				where->lent_until = tc->lent_until;
		} else {
			cc->lent_tid = holder->pid;
			cc->lent_dsq = holder->scx.dsq->id; /* 0 if it is not queued */
		}
	}
	bpf_task_release(holder);
	return 0;
}

/* As scan_left in timer.bpf.h. */
static volatile s64 lock_scan_left;

/* Move the holder to the key of now, to the queue of the CPU whose place it gets if it may run there. */
__noinline int move_holder(s32 cpu)
{
	struct cpu_ctx *cc = get_cpu_ctx(cpu);
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	struct task_ctx *tc;
	u64 dsq, to, now;

	if (!cc || !scxg_can_peek())
		return 0;
	dsq = cc->lent_dsq;
	cc->lent_dsq = 0;
	lock_scan_left = LOCK_SCAN;
	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		while ((p = bpf_iter_scx_dsq_next(&it)) && lock_scan_left-- > 0) {
			if ((u32)p->pid != cc->lent_tid)
				continue;
			tc = bpf_task_storage_get(&task_ctxs, p, NULL, 0);
			now = bpf_ktime_get_ns();
			to = dsq == cpu_dsq(scx_bpf_task_cpu(p)) ||
				     !bpf_cpumask_test_cpu(cpu, p->cpus_ptr)
				 ? dsq
				 : llc_dsq(cpu);
			if (tc && now < tc->lent_until && to != DSQ_HELD &&
			    p->scx.dsq_vtime > now && scxg_move_vtime(&it, p, to, now))
				tc->key = now;
			break;
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return 0;
}

/* A thread of the game is woken on this CPU, the one of @cc: by the holder if that has released the lock. */
static __always_inline void end_lending(const struct task_struct *p, struct cpu_ctx *cc)
{
	struct task_ctx *tc = bpf_task_storage_get(&task_ctxs, bpf_get_current_task_btf(), NULL, 0);

	if (tc && tc->lent_by == (u32)p->pid)
		cc->lent_until = tc->lent_until = 0;
}

#endif /* SCXG_SCHED_LOCK_H */
