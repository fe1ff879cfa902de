/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Differences between kernels 6.12 and 7.3, and nothing else.
 *
 * Every kfunc is weak. Where its prototype or name changed, each form is declared under a flavour (`___suffix`,
 * dropped by libbpf when it looks the name up); a form that does not match the running kernel counts as absent, and
 * the verifier prunes the branches that would call it. Enum values moved between kernels: they are relocated.
 *
 * A kfunc that scheduling cannot do without fails closed: the oldest form is called without a check, so on a kernel
 * with none of the forms libbpf poisons that call and the verifier refuses the load, naming it. A check there as well
 * would compile to nothing, and a scheduler that inserts nothing stalls the machine until the watchdog ends it.
 */
#ifndef SCXG_COMPAT_H
#define SCXG_COMPAT_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* Values that BTF does not keep: asm-generic/errno*.h, linux/numa.h. */
#define ENOENT 2
#define ENOMEM 12
#define NUMA_NO_NODE (-1)

/*
 * 6.13 on. Since 6.19 a form that returns bool exists beside it as scx_bpf_dsq_insert___v2, and the kernel's comment
 * there says that this form goes and the suffix is dropped: then the bool form has this name. The oldest name follows.
 */
void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags) __ksym __weak;
bool scx_bpf_dsq_insert___bool(struct task_struct *p, u64 dsq_id, u64 slice,
			       u64 enq_flags) __ksym __weak;
void scx_bpf_dispatch(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags) __ksym __weak;
/* 6.19 on takes a struct; 6.13 to 6.18 five arguments; 6.12 the old name. */
bool __scx_bpf_dsq_insert_vtime(struct task_struct *p,
				struct scx_bpf_dsq_insert_vtime_args *args) __ksym __weak;
void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime,
			      u64 enq_flags) __ksym __weak;
void scx_bpf_dispatch_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime,
			    u64 enq_flags) __ksym __weak;
/* 6.13 on. Since 7.1 a form with enqueue flags exists as scx_bpf_dsq_move_to_local___v2, which is to take over the name. */
bool scx_bpf_dsq_move_to_local(u64 dsq_id) __ksym __weak;
bool scx_bpf_dsq_move_to_local___flags(u64 dsq_id, u64 enq_flags) __ksym __weak;
bool scx_bpf_dsq_move_to_local___v2___flags(u64 dsq_id, u64 enq_flags) __ksym __weak;
bool scx_bpf_consume(u64 dsq_id) __ksym __weak;
/* 6.13 on; where they are missing no quota is enforced. */
bool scx_bpf_dsq_move_vtime(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id,
			    u64 enq_flags) __ksym __weak;
void scx_bpf_dsq_move_set_vtime(struct bpf_iter_scx_dsq *it, u64 vtime) __ksym __weak;
/* The same in 6.12. */
bool scx_bpf_dispatch_vtime_from_dsq(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id,
				     u64 enq_flags) __ksym __weak;
void scx_bpf_dispatch_from_dsq_set_vtime(struct bpf_iter_scx_dsq *it, u64 vtime) __ksym __weak;
bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice) __ksym __weak; /* 6.19 on */
void scx_bpf_kick_cpu(s32 cpu,
		      u64 flags) __ksym __weak;	 /* unusable where BTF keeps its hidden argument */
u32 scx_bpf_reenqueue_local(void) __ksym __weak; /* in cpu_release alone; gone with 7.3 */
void scx_bpf_cpuperf_set(s32 cpu, u32 perf) __ksym __weak;
s32 scx_bpf_create_dsq(u64 dsq_id, s32 node) __ksym __weak;
s32 scx_bpf_dsq_nr_queued(u64 dsq_id) __ksym __weak;
s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
			   bool *is_idle) __ksym __weak;
bool scx_bpf_test_and_clear_cpu_idle(s32 cpu) __ksym __weak;
s32 scx_bpf_pick_idle_cpu(const struct cpumask *cpus_allowed, u64 flags) __ksym __weak;
s32 scx_bpf_task_cpu(const struct task_struct *p) __ksym __weak;
bool scx_bpf_task_running(const struct task_struct *p) __ksym __weak;
void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data__sz) __ksym __weak;
bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *cpumask) __ksym __weak;
u32 bpf_cpumask_first(const struct cpumask *cpumask) __ksym __weak;
struct task_struct *scx_bpf_dsq_peek(u64 dsq_id) __ksym __weak; /* 6.19 on */
struct task_struct *bpf_task_from_pid(s32 pid) __ksym __weak;
struct task_struct *bpf_task_from_vpid(s32 vpid) __ksym __weak; /* 6.14 on */
void bpf_task_release(struct task_struct *p) __ksym __weak;
void bpf_rcu_read_lock(void) __ksym __weak;
void bpf_rcu_read_unlock(void) __ksym __weak;
int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq_id, u64 flags) __ksym __weak;
struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it) __ksym __weak;
void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it) __ksym __weak;

#define scxg_enum(type, name) bpf_core_enum_value(enum type, name)

/*
 * The flag with which the kernel gives a task back to enqueue where a real-time task takes its CPU, or has taken it
 * already. 0 before 7.1: there cpu_release does it.
 */
static __always_inline u64 scxg_immed(void)
{
	return bpf_core_enum_value_exists(enum scx_enq_flags, SCX_ENQ_IMMED)
		   ? scxg_enum(scx_enq_flags, SCX_ENQ_IMMED)
		   : 0;
}

static __always_inline void scxg_insert(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags)
{
	if (bpf_ksym_exists(scx_bpf_dsq_insert))
		scx_bpf_dsq_insert(p, dsq_id, slice, enq_flags);
	else if (bpf_ksym_exists(scx_bpf_dsq_insert___bool))
		scx_bpf_dsq_insert___bool(p, dsq_id, slice, enq_flags);
	else
		scx_bpf_dispatch(p, dsq_id, slice, enq_flags);
}

static __always_inline void scxg_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice,
					      u64 vtime, u64 enq_flags)
{
	if (bpf_ksym_exists(__scx_bpf_dsq_insert_vtime)) {
		struct scx_bpf_dsq_insert_vtime_args args = {
		    .dsq_id = dsq_id,
		    .slice = slice,
		    .vtime = vtime,
		    .enq_flags = enq_flags,
		};

		__scx_bpf_dsq_insert_vtime(p, &args);
	} else if (bpf_ksym_exists(scx_bpf_dsq_insert_vtime)) {
		scx_bpf_dsq_insert_vtime(p, dsq_id, slice, vtime, enq_flags);
	} else {
		scx_bpf_dispatch_vtime(p, dsq_id, slice, vtime, enq_flags);
	}
}

static __always_inline bool scxg_move_to_local(u64 dsq_id)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local___v2___flags))
		return scx_bpf_dsq_move_to_local___v2___flags(dsq_id, scxg_immed());
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local))
		return scx_bpf_dsq_move_to_local(dsq_id);
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local___flags))
		return scx_bpf_dsq_move_to_local___flags(dsq_id, scxg_immed());
	return scx_bpf_consume(dsq_id);
}

static __always_inline void scxg_set_slice(struct task_struct *p, u64 slice)
{
	if (bpf_ksym_exists(scx_bpf_task_set_slice))
		scx_bpf_task_set_slice(p, slice);
	else
		p->scx.slice = slice;
}

static __always_inline bool scxg_can_kick(void)
{
	return bpf_ksym_exists(scx_bpf_kick_cpu);
}

static __always_inline void scxg_kick(s32 cpu, u64 flags)
{
	if (bpf_ksym_exists(scx_bpf_kick_cpu))
		scx_bpf_kick_cpu(cpu, flags);
}

static __always_inline bool scxg_can_peek(void)
{
	return bpf_ksym_exists(bpf_iter_scx_dsq_new) && bpf_ksym_exists(bpf_iter_scx_dsq_next) &&
	       bpf_ksym_exists(bpf_iter_scx_dsq_destroy);
}

static __always_inline bool scxg_can_move(void)
{
	return scxg_can_peek() && scxg_can_kick() && bpf_ksym_exists(scx_bpf_dsq_move_vtime) &&
	       bpf_ksym_exists(scx_bpf_dsq_move_set_vtime);
}

/* Move a task that an iterator is at to a place in a queue; false if it left meanwhile. */
static __always_inline bool scxg_move_vtime(struct bpf_iter_scx_dsq *it, struct task_struct *p,
					    u64 dsq_id, u64 vtime)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move_vtime)) {
		scx_bpf_dsq_move_set_vtime(it, vtime);
		return scx_bpf_dsq_move_vtime(it, p, dsq_id, 0);
	}
	if (!bpf_ksym_exists(scx_bpf_dispatch_vtime_from_dsq))
		return false;
	scx_bpf_dispatch_from_dsq_set_vtime(it, vtime);
	return scx_bpf_dispatch_vtime_from_dsq(it, p, dsq_id, 0);
}

/*
 * BPF's own entry disables migration of the current task on kernels that count it, so 1 on the current task
 * means that the task itself did not ask for it.
 */
static __always_inline bool scxg_migration_disabled(const struct task_struct *p)
{
	unsigned short count;

	if (!bpf_core_field_exists(p->migration_disabled))
		return false;
	count = p->migration_disabled;
	return count > 1 || (count == 1 && bpf_get_current_task_btf() != p);
}

#endif /* SCXG_COMPAT_H */
