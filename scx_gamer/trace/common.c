/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The common part of the probes: histograms. bcc compiles it together with one of the other files, with TARGET,
 * the traced process, as a constant.
 */
#include <uapi/linux/ptrace.h>

#define NAME 16 /* length of a thread's name */
#define STATE_MASK                                                                                 \
	0xff /* of prev_state; the bits above report that a runnable task was preempted */
#define NEW_THREAD 0x00010000

struct bucket {
	char name[NAME];
	u32 slot;
};

/* One histogram for each name; read by the parent at the end. */
BPF_HASH(histogram, struct bucket, u64, 16384);
/* Largest value for each name, in nanoseconds; read with it. */
struct name {
	char text[NAME];
};
BPF_HASH(largest, struct name, u64, 1024);
/* Threads of TARGET. Filled from /proc before the probes are attached, then by new_thread. */
BPF_HASH(threads, u32, u8, 16384);
/* Samples that did not fit into a map, so that truncated results are reported. */
BPF_ARRAY(lost, u64, 1);

/* Eight slots for each power of two nanoseconds: a resolution of 12 %. */
static __always_inline u32 slot_of(u64 ns)
{
	u32 power;

	if (ns < 8)
		return ns;
	power = bpf_log2l(ns) - 1;
	return (power << 3) | ((ns >> (power - 3)) & 7);
}

static __always_inline void lose(void)
{
	int zero = 0;

	lost.atomic_increment(zero);
}

static __always_inline void count(struct bucket *key, u64 ns)
{
	struct name who = {};
	u64 *worst, one = 1, *found;

	key->slot = slot_of(ns);
	found = histogram.lookup(key);
	if (found)
		__sync_fetch_and_add(found, 1);
	else if (histogram.update(key, &one))
		lose();
	__builtin_memcpy(who.text, key->name, NAME);
	worst = largest.lookup(&who);
	if (!worst)
		largest.update(&who, &ns);
	else if (*worst < ns)
		*worst = ns; /* not atomic: a concurrent update may lose one of two maxima */
}

static __always_inline bool is_target(void)
{
	return bpf_get_current_pid_tgid() >> 32 == TARGET;
}
