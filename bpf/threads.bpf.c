/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the threads of a game do, from facts and not from their names. Loaded while a game runs, and then only: the
 * wake-up hook is on a hot path. Each hook is a program of its own and may be missing.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "policy.h"
#include "registers.h"
#include "shared_maps.h"

char _license[] SEC("license") = "GPL";

#define HOLD_NS (SCXG_THREAD_HOLD_MS * SCXG_NS_PER_MS)
#define CHAIN_NS (SCXG_THREAD_CHAIN_MS * SCXG_NS_PER_MS)
#define PERIOD_MIN_NS (SCXG_THREAD_PERIOD_MIN_US * SCXG_NS_PER_US)
#define PERIOD_MAX_NS (SCXG_THREAD_PERIOD_MAX_US * SCXG_NS_PER_US)
#define KEEP_EVERY 8 /* intervals of a thread in step */
#define DRM_IOCTL_TYPE 0x64
#define DRM_DRIVER_FIRST                                                                           \
	0x40 /* numbers of a driver's own calls; work is submitted by one of them */
#define DRM_DRIVER_END 0xa0
#define DRM_PAGE_FLIP 0xb0
#define DRM_ATOMIC 0xbc

struct beat {
	u64 period_ns, jitter_ns, run_ns;
	u64 nr;
};

struct facts {
	u64 chain_ns; /* when the input was read that led to its last wake-up; 0: none did */
	u64 counted_chain_ns;
	u64 wake_ns, wake_before_ns; /* its last two wake-ups, and its CPU time at them */
	u64 ran_ns, ran_before_ns;
	struct beat each, other; /* of each wake-up, and of every second one */
	u32 nr[SCXG_NR_ROLES];
	u64 last_ns[SCXG_NR_ROLES];
};

/* Per thread: what it did lately. Read and written by the hooks here. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct facts);
} thread_facts SEC(".maps");

/* tid and role. Written by the hooks here, read by Python for `games explain` and the metrics. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SCXG_MAX_THREADS);
	__type(key, u64);
	__type(value, struct scxg_thread);
} roles SEC(".maps");

/*
 * tid -> its period, however long it computes in it. Written by the wake-up hook, read by Python to find the threads of a
 * frame.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SCXG_MAX_THREADS);
	__type(key, u32);
	__type(value, struct scxg_step);
} steps SEC(".maps");

struct scxg_thread scxg_anchor_thread = {};
struct scxg_step scxg_anchor_step = {};
enum scxg_role scxg_anchor_role = 0;
enum scxg_thread_times scxg_anchor_thread_times = 0;

static __always_inline u32 class_of_process(u32 tgid)
{
	struct scxg_class_entry *entry = bpf_map_lookup_elem(&classes, &tgid);

	return entry ? entry->class_id : SCXG_CLASS_NORMAL;
}

/* Give a role, or hold it for longer. */
static __always_inline struct scxg_thread *give(struct task_struct *p, u32 role, u64 now)
{
	struct scxg_thread fresh = {}, *thread;
	u64 key = (u64)role << 32 | (u32)p->pid;

	thread = bpf_map_lookup_elem(&roles, &key);
	if (!thread || thread->start_ns != p->start_boottime) {
		fresh.tgid = p->tgid;
		fresh.start_ns = p->start_boottime;
		bpf_map_update_elem(&roles, &key, &fresh, BPF_ANY);
		thread = bpf_map_lookup_elem(&roles, &key);
		if (!thread)
			return NULL;
	}
	if (thread->until_ns < now)
		thread->since_ns = now;
	thread->until_ns = now + HOLD_NS;
	thread->facts++;
	return thread;
}

/* Count one fact; the role comes with the fourth of them within the hold time. */
static __always_inline struct scxg_thread *fact(struct facts *f, struct task_struct *p, u32 role,
						u64 now)
{
	if (role >= SCXG_NR_ROLES)
		return NULL;
	f->nr[role] = now - f->last_ns[role] < HOLD_NS ? f->nr[role] + 1 : 1;
	f->last_ns[role] = now;
	return f->nr[role] >= SCXG_THREAD_FACTS ? give(p, role, now) : NULL;
}

static __always_inline u64 mean(u64 old, u64 value)
{
	return old - (old >> 3) + (value >> 3);
}

/* Take an interval into a beat. Return true if its intervals are steady by now. */
static __always_inline bool beats(struct beat *beat, u64 interval, u64 used)
{
	u64 off;

	if (interval < PERIOD_MIN_NS || interval > PERIOD_MAX_NS) {
		beat->nr = 0;
		return false;
	}
	if (!beat->nr) {
		beat->period_ns = interval;
		beat->jitter_ns = 0;
		beat->run_ns = used;
	}
	off = interval > beat->period_ns ? interval - beat->period_ns : beat->period_ns - interval;
	beat->period_ns = mean(beat->period_ns, interval);
	beat->jitter_ns = mean(beat->jitter_ns, off);
	beat->run_ns = mean(beat->run_ns, used);
	return ++beat->nr > SCXG_THREAD_WAKES && beat->jitter_ns <= beat->period_ns / 4;
}

/* Once in KEEP_EVERY intervals, because the map costs as much as all else here. */
static __always_inline void keep_step(const struct beat *beat, u32 wakes,
				      const struct task_struct *p, u64 now)
{
	struct scxg_step step = {
	    .start_ns = p->start_boottime,
	    .seen_ns = now,
	    .period_ns = beat->period_ns,
	    .run_ns = beat->run_ns,
	    .tgid = p->tgid,
	    .wakes = wakes,
	};
	u32 tid = p->pid;

	if ((beat->nr - SCXG_THREAD_WAKES) % KEEP_EVERY != 1)
		return;
	bpf_map_update_elem(&steps, &tid, &step, BPF_ANY);
}

static __always_inline void in_step(struct facts *f, struct task_struct *p, u64 now)
{
	u64 ran = p->se.sum_exec_runtime;
	bool each = beats(&f->each, now - f->wake_ns, ran - f->ran_ns);
	bool other = beats(&f->other, now - f->wake_before_ns, ran - f->ran_before_ns);
	struct scxg_thread *thread;

	f->wake_before_ns = f->wake_ns;
	f->ran_before_ns = f->ran_ns;
	f->wake_ns = now;
	f->ran_ns = ran;
	if (!each) {
		if (other)
			keep_step(&f->other, 2, p, now);
		return;
	}
	keep_step(&f->each, 1, p, now);
	if (f->each.run_ns > f->each.period_ns / 4)
		return;
	thread = give(p, SCXG_ROLE_PERIODIC, now);
	if (thread) {
		thread->period_ns = f->each.period_ns;
		thread->run_ns = f->each.run_ns;
	}
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *p)
{
	struct task_struct *waker = bpf_get_current_task_btf();
	u32 class_id = class_of_process(p->tgid);
	struct facts *f, *from;
	struct scxg_thread *thread;
	u64 now;

	if (class_id != SCXG_CLASS_GAME && class_id != SCXG_CLASS_CRITICAL)
		return 0;
	now = bpf_ktime_get_ns();
	f = bpf_task_storage_get(&thread_facts, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!f)
		return 0;
	f->chain_ns = 0;
	from = bpf_task_storage_get(&thread_facts, waker, NULL, 0);
	if (from && from->chain_ns && now - from->chain_ns < CHAIN_NS)
		f->chain_ns = from->chain_ns;
	if (class_id != SCXG_CLASS_GAME)
		return 0;
	/* The first of the game in the chain: what it wakes works for it, but does not answer the device. */
	if (f->chain_ns && f->chain_ns != f->counted_chain_ns &&
	    class_of_process(waker->tgid) != SCXG_CLASS_GAME) {
		f->counted_chain_ns = f->chain_ns;
		thread = fact(f, p, SCXG_ROLE_INPUT, now);
		if (thread)
			thread->waker = waker->pid;
	}
	in_step(f, p, now);
	return 0;
}

/*
 * evdev_read(file, buffer, count, pos): whoever has read from an input device begins a chain, the compositor, an input
 * daemon, or the game itself. At the end of the call: one that waits for input in it begins long before there is any.
 * Before Linux 6.14, more than two such calls a CPU that wait at a time keep the next ones from being seen
 * (fprobe_init_rethook()).
 */
SEC("kretprobe.multi/evdev_read")
int on_evdev_read(void *ctx)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct scxg_thread *thread;
	struct facts *f;
	u64 now;

	if ((long)SCXG_RETURNED(ctx) <= 0)
		return 0;
	f = bpf_task_storage_get(&thread_facts, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!f)
		return 0;
	now = bpf_ktime_get_ns();
	f->chain_ns = now;
	if (class_of_process(p->tgid) != SCXG_CLASS_GAME)
		return 0;
	thread = fact(f, p, SCXG_ROLE_INPUT, now);
	if (thread)
		thread->waker = p->pid;
	return 0;
}

/* drm_ioctl(file, cmd, argument) */
SEC("kprobe.multi/drm_ioctl")
int on_drm_ioctl(void *ctx)
{
	struct task_struct *p = bpf_get_current_task_btf();
	u32 cmd = SCXG_ARG1(ctx), number = cmd & 0xff;
	struct facts *f;

	if (((cmd >> 8) & 0xff) != DRM_IOCTL_TYPE)
		return 0;
	if ((number < DRM_DRIVER_FIRST || number >= DRM_DRIVER_END) && number != DRM_PAGE_FLIP &&
	    number != DRM_ATOMIC)
		return 0;
	if (class_of_process(p->tgid) != SCXG_CLASS_GAME)
		return 0;
	f = bpf_task_storage_get(&thread_facts, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (f)
		fact(f, p, SCXG_ROLE_SUBMIT, bpf_ktime_get_ns());
	return 0;
}
