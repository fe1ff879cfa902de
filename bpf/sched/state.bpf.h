/* SPDX-License-Identifier: GPL-2.0-only */
/* Constants, maps and the state of each CPU, with their lookups. Everything else includes this. */
#ifndef SCXG_SCHED_STATE_H
#define SCXG_SCHED_STATE_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "compat.h"
#include "policy.h"
#include "shared_maps.h"
#include "events.h"

/* Written by the supervisor between open and load. */
const volatile u64 generation = 1;
const volatile u32 nr_cpus = 1;
const volatile u32 nr_llcs = 1;
const volatile u16 cpu_llc[SCXG_MAX_CPUS];
const volatile u32 has_smt;
const volatile u16 cpu_sibling[SCXG_MAX_CPUS]; /* the CPU itself where it has none */
const volatile u32 nr_home;		       /* CPUs of the game's home: 0 where all are alike */
const volatile u16 home_order[SCXG_MAX_CPUS];  /* all CPUs, those of home first */
const volatile u16 home_place[SCXG_MAX_CPUS];  /* index of each in home_order */
const volatile u64 storm_kicks = SCXG_STORM_KICKS;     /* a test sets less */
const volatile u64 input_wake_us = SCXG_INPUT_WAKE_US; /* an emulated machine takes longer */

#ifdef SCXG_FAULTS
/* Faults of the test build: 0 is off. */
const volatile u64 fault_stall_ms; /* dispatch does nothing after this long */
const volatile u64 fault_error_ms; /* scx_bpf_error after this long */
const volatile u32 fault_storage;  /* task storage is unavailable */
const volatile u32 fault_timer;	   /* the timer fails to start */
#endif

/*
 * The running task of a CPU, written by running and stopping on that CPU and read by other CPUs that search for a
 * victim; then the marks and the scratch that decisions keep per CPU.
 */
struct cpu_ctx {
	u64 run_since; /* 0 while no task of ours runs */
	u64 burst_before;
	u64 debt_before;
	u64 last_kick;
	u64 lent_until; /* the running task has the place of a thread of the game (lock.bpf.h) */
	u64 kicks;
	u32 class_id;
	u32 is_short;
	u16 is_kthread;
	u16 urgent_link;
	u32 has_pinned; /* its per-CPU DSQ may hold a task; guarded by the lock of its run queue */
	/* In a cache line apart from what a search for a victim reads. */
	u64 kick_window_start; /* start of the second in which `kicks` are counted */
	u32 best_score;	       /* scratch of best_victim, of the CPU that searches */
	s32 best_cpu;
	u64 best_last_kick; /* last_kick of best_cpu when it was scored */
	u32 alternate;	    /* turns of the two queues where heads cannot be compared */
	u64 local_head_key; /* key of the task last inserted into its local DSQ while the CPU was busy */
	u64 last_remote_scan; /* when it last compared its queue's head with those of other caches */
	u64 key;	      /* of the running task, with SMT only; 0: it found an idle CPU */
	u64 held_since;	      /* valid while held */
	u32 shields; /* runs a thread of the game that computes: its sibling is kept free */
	u64 busy_ns; /* run time since speed_since: stopping adds whole runs, so a window begins with what to take off */
	u64 speed_since;
	u32 speed;     /* requested last; 0: none */
	u32 goes_home; /* the running thread of the game leaves for a CPU of home */
	u32 lent_tid;  /* whom to look for in lent_dsq; a thread of the game waits for its lock */
	u64 lent_dsq;
	u32 held; /* idle or reserved, because its sibling shields */
} __attribute__((aligned(64)));

/* Mappable so that the values begin at a page: each at a cache line. */
MAPPED_ARRAY(cpu_ctxs, struct cpu_ctx, SCXG_MAX_CPUS);

/* Until when the share of all threads in step beside the game has paid for them (policy.h). Written by many CPUs. */
static u64 urgent_paid_ns;

/* Counters, one writer per entry. Read by Python through a mapping. */
MAPPED_ARRAY(cpu_stats, struct scxg_cpu_stats, 1); /* set to the number of CPUs before the load */

/* State of this attachment of the scheduler. Read by Python through a mapping. */
MAPPED_ARRAY(sched_state, struct scxg_sched_state, 1);

/* The reason why it ended: written once by exit, read by Python after the SCHED_EXIT event. */
MAPPED_ARRAY(exit_info, struct scxg_exit_info, 1);

struct timer_slot {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, struct timer_slot);
} timers SEC(".maps");

enum timer_index {
	TIMER_HOUSEKEEPING = 0,
	TIMER_RELEASE = 1,
};

static __always_inline struct scxg_cpu_stats *get_cpu_stats(u32 cpu)
{
	return bpf_map_lookup_elem(&cpu_stats, &cpu);
}

static __always_inline struct scxg_cpu_stats *this_cpu_stats(void)
{
	return get_cpu_stats(bpf_get_smp_processor_id());
}

static __always_inline struct cpu_ctx *get_cpu_ctx(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&cpu_ctxs, &key);
}

static __always_inline struct scxg_sched_state *get_sched_state(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&sched_state, &zero);
}

static __always_inline struct timer_slot *get_timer_slot(u32 index)
{
	return bpf_map_lookup_elem(&timers, &index);
}

/* Emit an event; count it as lost when the ring is full. */
static __always_inline void emit_event(u16 type, u64 now, u64 value)
{
	struct scxg_event *ev = scxg_event_begin(type);

	if (!ev) {
		struct scxg_cpu_stats *stats = this_cpu_stats();

		if (stats)
			stats->events_lost++;
		return;
	}
	ev->generation = generation;
	ev->time_ns = now;
	ev->value = value;
	bpf_ringbuf_submit(ev, 0);
}

#endif /* SCXG_SCHED_STATE_H */
