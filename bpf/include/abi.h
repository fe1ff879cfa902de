/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every struct, enum and constant that crosses between the kernel and Python, and the default of
 * every tunable. Python repeats none of it: sizes, offsets and enum values are read from the
 * objects' own BTF.
 *
 * All times are CLOCK_MONOTONIC nanoseconds unless the name says otherwise.
 */
#ifndef SCXG_ABI_H
#define SCXG_ABI_H

#ifndef __VMLINUX_H__
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;
#endif

enum scxg_limits {
	SCXG_ABI_VERSION = 1,
	SCXG_MAX_CPUS = 1024,
	SCXG_MAX_LLCS = 64,
	SCXG_MAX_CLASSES_TRACKED = 16384, /* entries of the tgid -> class map */
	SCXG_MAX_DEVICES = 1024,	  /* entries of the maps of devices, their slots and axes */
	SCXG_INPUT_NAME_LEN = 16,	  /* "input" and a number, padded with zeros */
	SCXG_MAX_NAMES = 1024,		  /* entries of the map of names */
	SCXG_MAX_THREADS = 4096,	  /* entries of the map of threads with a role */
	SCXG_MAX_TRACKED = 16384,	  /* entries of the map of followed processes */
	SCXG_WAIT_BUCKETS = 32,		  /* log2 of microseconds */
	SCXG_EXIT_REASON_LEN = 128,
	SCXG_EXIT_MSG_LEN = 1024,
	SCXG_EXIT_DUMP_LEN = 32768,
	SCXG_COMM_LEN = 16,
	SCXG_FILENAME_LEN = 128,
	SCXG_CONTROL_RING_BYTES = 65536,
	SCXG_EVENT_RING_BYTES = 262144,
	SCXG_MSG_SLOTS = 16,	   /* power of two, at least SCXG_NR_MSGS */
	SCXG_CONTROL_BATCH = 512,  /* messages drained by one run of the drain program */
	SCXG_BACKGROUND_NICE = 10, /* tasks with it or more are background while a game is active */
};

/* What a thread is to the policy. */
enum scxg_class {
	SCXG_CLASS_NORMAL = 0,
	SCXG_CLASS_GAME = 1,
	SCXG_CLASS_CRITICAL = 2, /* compositor, sound server, input daemon, wineserver */
	SCXG_CLASS_BACKGROUND = 3,
	SCXG_CLASS_KTHREAD = 4, /* kernel thread bound to one CPU; never told by user space */
	SCXG_NR_CLASSES = 5,
};

/* Input lanes: each has its own boost window. */
enum scxg_lane {
	SCXG_LANE_NONE = 0,
	SCXG_LANE_KEYBOARD = 1,
	SCXG_LANE_MOUSE = 2,   /* mice and touchpads */
	SCXG_LANE_GAMEPAD = 3, /* gamepads, wheels, joysticks */
	SCXG_NR_LANES = 4,
};

/* Which path opened a window. */
enum scxg_input_path {
	SCXG_PATH_KERNEL = 0, /* fentry on input_event */
	SCXG_PATH_EVDEV = 1,  /* supervisor, through the control ring */
	SCXG_NR_PATHS = 2,
};

/* What an event of a device is: each has a lane of its own, because one node may be keyboard and mouse. */
enum scxg_source {
	SCXG_SOURCE_KEY = 0,
	SCXG_SOURCE_BUTTON = 1, /* of a mouse, a pad, a tool */
	SCXG_SOURCE_REL = 2,
	SCXG_SOURCE_ABS = 3,
	SCXG_NR_SOURCES = 4,
};

/* Why a device holds a lane open: a byte a lane in the value of SCXG_MSG_HELD and in scxg_device.held. */
enum scxg_held {
	SCXG_HELD_KEYS = 1, /* a key or button is down */
	SCXG_HELD_AXES = 2, /* a stick or trigger is off its rest: only a poll sees it come back */
	SCXG_HELD_BITS = 8, /* bits a lane */
	SCXG_HELD_ALL = 0x03030300,
	SCXG_HELD_ALL_AXES = 0x02020200,
};

/* What an exec of a name in map `names` leads to. */
enum scxg_name_flag {
	SCXG_NAME_REPORT = 1, /* the exec and what becomes of the process are told */
	SCXG_NAME_TREE = 2,   /* so is everything that it starts */
};

/* What facts show of a thread of a game. Each role ends by itself when its facts stop. */
enum scxg_role {
	SCXG_ROLE_INPUT = 0,	/* reads a device itself, or is woken by who read it */
	SCXG_ROLE_PERIODIC = 1, /* wakes at a steady interval and runs for a short part of it */
	SCXG_ROLE_SUBMIT = 2,	/* hands work to the GPU */
	SCXG_NR_ROLES = 3,
};

/* What a role takes, and how long it outlives its last fact. */
enum scxg_thread_times {
	SCXG_THREAD_HOLD_MS = 2000,
	SCXG_THREAD_FACTS = 4,	  /* input, submit: within the hold time */
	SCXG_THREAD_WAKES = 16,	  /* periodic: wake-ups in step */
	SCXG_THREAD_CHAIN_MS = 5, /* a wake-up later than this is no answer to the input */
	SCXG_THREAD_PERIOD_MIN_US = 500,
	SCXG_THREAD_PERIOD_MAX_US = 50000,
};

enum scxg_frame_limits {
	SCXG_FRAME_SLOTS = 4096, /* a second of a thread that sleeps 4000 times in it */
};

enum scxg_flip_limits {
	SCXG_MAX_SCREENS = 8,	/* entries of the map `flips` */
	SCXG_FLIP_SLOTS = 1024, /* a second of a screen that changes 1000 times in it */
	SCXG_FLIP_REQUESTS = 2, /* one that waits for its vblank, one that the kernel may refuse */
};

enum scxg_interference_limits {
	SCXG_MAX_PROGRAMS = 1024, /* entries of the map `programs` */
};

enum scxg_gpu_limits {
	SCXG_GPU_JOBS = 1024, /* slots of the map `jobs`; a power of two */
};

/* Tunables. Index into struct scxg_tunables.value; clamped in BPF to the limits below. */
enum scxg_tunable {
	SCXG_TUN_SLICE_US = 0,
	SCXG_TUN_BG_SLICE_US = 1,
	SCXG_TUN_BG_DELAY_MS = 2,
	SCXG_TUN_DEADLINE_CAP_MS = 3,
	SCXG_TUN_BOOST_KEYBOARD_MS = 4,
	SCXG_TUN_BOOST_MOUSE_MS = 5,
	SCXG_TUN_BOOST_GAMEPAD_MS = 6,
	SCXG_TUN_PREEMPT_MIN_US = 7,
	SCXG_TUN_SMT_ISOLATE = 8,
	SCXG_TUN_CPUPERF = 9,
	SCXG_TUN_HOME = 10,
	SCXG_NR_TUNABLES = 11,
};

/* Defaults, lower and upper limits, in the order of enum scxg_tunable, in the unit of its name. */
enum scxg_tunable_default {
	SCXG_DEF_SLICE_US = 3000,
	SCXG_DEF_BG_SLICE_US = 1000,
	SCXG_DEF_BG_DELAY_MS = 60,
	SCXG_DEF_DEADLINE_CAP_MS = 24,
	SCXG_DEF_BOOST_KEYBOARD_MS = 250,
	SCXG_DEF_BOOST_MOUSE_MS = 50,
	SCXG_DEF_BOOST_GAMEPAD_MS = 100,
	SCXG_DEF_PREEMPT_MIN_US = 100,
	SCXG_DEF_SMT_ISOLATE = 1,
	SCXG_DEF_CPUPERF = 0,
	SCXG_DEF_HOME = 1,
};

enum scxg_tunable_min {
	SCXG_MIN_SLICE_US = 500,
	SCXG_MIN_BG_SLICE_US = 500,
	SCXG_MIN_BG_DELAY_MS = 0,
	SCXG_MIN_DEADLINE_CAP_MS = 1,
	SCXG_MIN_BOOST_KEYBOARD_MS = 0,
	SCXG_MIN_BOOST_MOUSE_MS = 0,
	SCXG_MIN_BOOST_GAMEPAD_MS = 0,
	SCXG_MIN_PREEMPT_MIN_US = 100,
	SCXG_MIN_SMT_ISOLATE = 0,
	SCXG_MIN_CPUPERF = 0,
	SCXG_MIN_HOME = 0,
};

enum scxg_tunable_max {
	SCXG_MAX_SLICE_US = 20000,
	SCXG_MAX_BG_SLICE_US = 20000,
	SCXG_MAX_BG_DELAY_MS = 70,
	SCXG_MAX_DEADLINE_CAP_MS = 29, /* cap + delay stay below SCXG_DEADLINE_MAX_NS */
	SCXG_MAX_BOOST_KEYBOARD_MS = 2000,
	SCXG_MAX_BOOST_MOUSE_MS = 2000,
	SCXG_MAX_BOOST_GAMEPAD_MS = 2000,
	SCXG_MAX_PREEMPT_MIN_US = 100000,
	SCXG_MAX_SMT_ISOLATE = 1,
	SCXG_MAX_CPUPERF = 1,
	SCXG_MAX_HOME = 1,
};

/* Times of the protocol and of the policy's bound. */
enum scxg_times {
	SCXG_HEARTBEAT_PERIOD_MS = 1000, /* how often the supervisor beats */
	SCXG_HEARTBEAT_STALE_MS = 3000,	 /* class effects go off after this */
	SCXG_TIMER_PERIOD_MS = 100,
	SCXG_HELD_LEASE_MS = 1000,  /* a held key keeps its lane open this long without renewal */
	SCXG_HELD_POLL_MS = 250,    /* how often the supervisor renews it */
	SCXG_DEADLINE_MAX_MS = 100, /* D of the starvation bound */
	SCXG_SLICE_MAX_MS = 20,	    /* S of the starvation bound */
	SCXG_STORM_KICKS = 1000,    /* kicks of one CPU in a second that are worth an event */
	SCXG_INPUT_WAKE_US = 100,   /* a report's readers are woken by its CPU within this */
	SCXG_INPUT_CHAIN_MS = 100,  /* what a reader wakes later than this does not answer it */
};

/* ---- control ring: Python -> BPF ------------------------------------------------------------ */

enum scxg_msg_type {
	SCXG_MSG_NONE = 0,
	SCXG_MSG_HEARTBEAT = 1,
	SCXG_MSG_INPUT = 2,	/* lane, path EVDEV: open or extend the lane's window */
	SCXG_MSG_HELD = 3,	/* slot, enum scxg_held by lane: true state of keys and sticks */
	SCXG_MSG_CLASS_SET = 4, /* tgid, class; value 1: time_ns is that of its exec */
	SCXG_MSG_CLASS_DEL = 5, /* tgid */
	SCXG_MSG_FOCUS = 6,	/* tgid, 0 for none; value 1: it is part of no game */
	SCXG_MSG_TUNABLE = 7,	/* index, value */
	SCXG_MSG_GAME_ACTIVE =
	    8, /* value 0 or 1: background is delayed only while a game is active */
	SCXG_NR_MSGS = 9,
};

/* One fixed-size message. Fields that a type does not name are 0. */
struct scxg_msg {
	u16 version; /* SCXG_ABI_VERSION */
	u16 type;    /* enum scxg_msg_type */
	u32 tgid;
	u64 generation; /* a message of another generation is dropped and counted */
	u64 time_ns;	/* when the fact was observed */
	u64 start_ns; /* CLASS_SET: the leader's start_boottime, 0 if unknown (guards pid reuse) */
	u64 value;
	u32 index;    /* tunable, lane, or slot of a device */
	u32 class_id; /* enum scxg_class */
};

/* ---- event ring: BPF -> Python -------------------------------------------------------------- */

enum scxg_event_type {
	SCXG_EV_NONE = 0,
	SCXG_EV_EXEC = 1,
	SCXG_EV_EXIT = 2,	   /* the process as a whole */
	SCXG_EV_FORK = 3,	   /* only of processes that are followed */
	SCXG_EV_WINDOW = 4,	   /* a lane went from closed to open */
	SCXG_EV_PREEMPT_STORM = 5, /* a CPU was kicked SCXG_STORM_KICKS times within a second */
	SCXG_EV_SCHED_EXIT = 6,	   /* details are in the exit_info map */
	SCXG_EV_RENAME = 7,	   /* a followed process gave itself a name */
	SCXG_NR_EVENTS = 8,
};

struct scxg_event {
	u16 version;
	u16 type; /* enum scxg_event_type */
	u32 tgid;
	u64 generation;
	u64 time_ns;
	u64 start_ns; /* start_boottime of the group leader */
	u32 parent_tgid;
	u32 lane;  /* WINDOW */
	u64 value; /* SCHED_EXIT: kind; EXIT: exit code; PREEMPT_STORM: the kicked CPU */
	char comm[SCXG_COMM_LEN];
	char filename[SCXG_FILENAME_LEN]; /* EXEC */
};

/* ---- mapped state --------------------------------------------------------------------------- */

/* Map `windows`, one entry: the boost windows. Written by observe, read by sched and Python. */
struct scxg_lane_state {
	u64 until_ns; /* open while now < max(until_ns, held_until_ns) */
	u64 held_until_ns;
	u64 holders;		   /* devices that hold it */
	u64 opened;		   /* closed -> open transitions */
	u64 events[SCXG_NR_PATHS]; /* reports that counted */
};

struct scxg_windows {
	struct scxg_lane_state lane[SCXG_NR_LANES];
	u64 input_ns;  /* newest report that counted, on the kernel path */
	u32 input_cpu; /* that delivers it: its readers are woken there */
	u32 pad;
};

/* Map `tunables`, one entry. */
struct scxg_tunables {
	u64 value[SCXG_NR_TUNABLES];
};

/* Map `control`, one entry: what the supervisor told the kernel, and what became of messages. */
struct scxg_control {
	u64 generation; /* written by Python before each load of sched */
	u64 heartbeat_ns;
	u64 game_active;
	u64 focus_tgid;
	u64 focus_away;	 /* 1: what has the focus is no game: input windows do not count for one */
	u64 class_epoch; /* rises whenever a class changes; task contexts re-read then */
	u64 watch_execs; /* 1: EXEC and EXIT events of every process, not of followed ones alone */
	u64 devices_epoch;	  /* written by Python, after each change of map `devices` */
	u64 msgs[SCXG_MSG_SLOTS]; /* accepted, by type */
	u64 msgs_stale;		  /* other generation */
	u64 msgs_unknown;	  /* unknown type or version */
	u64 msgs_invalid;	  /* a field out of range */
	u64 drains;
	u64 drain_seen;	 /* messages looked at by the last run of the drain */
	u64 events_lost; /* event ring full, observe's side */
	u64 execs;
	u64 exits;
	u64 forks;
	u64 execs_told; /* of execs: left the kernel */
	/* From exec to its class being in map `classes`. */
	u64 class_delay_hist[SCXG_WAIT_BUCKETS];
	u64 class_delay_sum_ns;
	u64 class_delay_max_ns;
	/* On the evdev path: from an input event to its window, of the newest one and the longest. */
	u64 input_delay_ns;
	u64 input_delay_max_ns;
};

/* Map `devices`: slot, by map `device_slots` -> what the supervisor classified. All 0 where the slot is free. */
struct scxg_device {
	u8 lane_key; /* enum scxg_lane by enum scxg_source */
	u8 lane_button;
	u8 lane_rel;
	u8 lane_abs;
	u32 held;	   /* enum scxg_held by lane, 0 when all is at rest */
	u32 dead_permille; /* of the way of an axis; scx_gamer/input/acts.py */
	u32 grabbed;	   /* 1: at the last report one reader had it for itself */
	u32 noted;	   /* 1: map `axes` has where its axes rest */
	u32 pad;
	u64 reports; /* that the input core passed on */
	u64 acts;    /* of these, the ones that counted */
	u64 last_ns; /* of the last act */
};

/* Map `classes`: tgid -> class. */
struct scxg_class_entry {
	u32 class_id;
	u32 pad;
	u64 start_ns; /* start_boottime of its leader; 0: the entry counts for any process with the tgid */
};

/* Map `tracked`: tgid of a process that is followed -> what for. */
struct scxg_tracked {
	u64 start_ns; /* start_boottime of its leader */
	u32 flags;    /* enum scxg_name_flag */
	u32 pad;
};

/* Map `roles`: tid, with enum scxg_role in the upper half -> what facts showed of the thread. */
struct scxg_thread {
	u32 tgid;
	u32 waker; /* INPUT: the last thread that passed input on to it, itself if it read a device */
	u64 start_ns; /* start_boottime of the thread */
	u64 since_ns;
	u64 until_ns;
	u64 facts;
	u64 period_ns; /* PERIODIC */
	u64 run_ns;    /* PERIODIC: mean time it runs for */
};

/* Map `steps`: tid -> the steady interval at which it wakes. */
struct scxg_step {
	u64 start_ns; /* start_boottime of the thread */
	u64 seen_ns;  /* its newest wake-up in step */
	u64 period_ns;
	u64 run_ns; /* mean time it runs for */
	u32 tgid;
	u32 wakes; /* in each period: 1, or 2 at uneven distances */
};

/* Map `sleeps`, one entry: the sleeps of the thread whose sleeps end the game's frames. */
struct scxg_frame_sleeps {
	u64 tid;			/* written by Python; 0: no thread */
	u64 start_ns;			/* its start_boottime: another thread may get its tid */
	u64 nr;				/* that began so far */
	u64 began_ns[SCXG_FRAME_SLOTS]; /* of the newest, sleep n in slot n % SCXG_FRAME_SLOTS */
};

/* A flip that was asked for, by addresses in the kernel. */
struct scxg_flip_request {
	u64 pending;	 /* of the event; 0: none */
	u64 sequence_at; /* of the number that the event will have */
};

/* Map `flips`: the new pictures of a screen. */
struct scxg_flips {
	u64 screen; /* address of the device + number of the CRTC; 0: the entry is free */
	u64 nr;	    /* of flips that ended so far */
	struct scxg_flip_request requests[SCXG_FLIP_REQUESTS];
	u32 nr_requests;
	u32 tgid;		      /* of who asked last */
	u64 at_ns[SCXG_FLIP_SLOTS];   /* end of the newest, flip n in slot n % SCXG_FLIP_SLOTS */
	u32 vblanks[SCXG_FLIP_SLOTS]; /* the screen's number of the vblank then; 0: none */
};

/* Map `gpu_work`, one entry: the work of the GPU for the game. */
struct scxg_gpu_work {
	u64 running; /* jobs that it has, << 56, and the time since it has any; 0: none */
	u64 busy_ns; /* it had any, until the last time that it had none */
	u64 jobs;    /* done */
};

/* Key of map `programs`: comm of a process's leader, and what the thread was to the policy. All 0: no room for more. */
struct scxg_program {
	char name[SCXG_COMM_LEN];
	u32 class_id;
	u32 pad;
};

/* Map `programs`: CPU time that a program had while a thread of the game waited for that CPU, and its own waits. */
struct scxg_interference {
	u64 taken_ns;
	u64 taken; /* waits of the game in which it ran */
	u64 taken_max_ns;
	u64 waited_ns; /* BACKGROUND only, as the rest */
	u64 waited_max_ns;
	u64 ran_ns;
};

/* Map `cpu_stats`, one entry a CPU, one writer each: no atomics. Owned by sched's generation. */
struct scxg_cpu_stats {
	u64 enqueues[SCXG_NR_CLASSES];
	u64 runs[SCXG_NR_CLASSES]; /* times a task of the class started to run */
	u64 run_ns[SCXG_NR_CLASSES];
	u64 idle_inserts[SCXG_NR_CLASSES]; /* found an idle CPU: went straight to its local queue */
	u64 migrations[SCXG_NR_CLASSES];
	u64 preempt_kicks[SCXG_NR_CLASSES]; /* by the class that asked for the kick */
	u64 wait_max_ns[SCXG_NR_CLASSES];   /* since the supervisor set it to 0 */
	u64 wait_sum_ns[SCXG_NR_CLASSES];
	u64 wait_hist[SCXG_NR_CLASSES][SCXG_WAIT_BUCKETS];
	/* From a report to the first run of the game's thread that it woke. */
	u64 input_hist[SCXG_WAIT_BUCKETS];
	u64 input_sum_ns;
	u64 slice_cuts;	    /* long slices cut in tick because somebody waited */
	u64 keep_running;   /* dispatch found nobody else */
	u64 steals;	    /* taken from another cache's queue */
	u64 boosted;	    /* enqueues with an input window open */
	u64 ctx_missing;    /* task storage could not be had */
	u64 ctx_reset;	    /* context of another generation reset */
	u64 events_lost;    /* event ring full, sched's side */
	u64 shield_kicks;   /* tasks taken from the sibling of a CPU that computes for the game */
	u64 shield_ns;	    /* time that the sibling was kept idle for it */
	u64 urgent;	    /* wake-ups of threads in step with a clock, within their share */
	u64 urgent_refused; /* the same, beside the game, without a share left for all of them */
	u64 home_moves;	    /* threads of the game that a tick sent to a CPU of home */
	u64 quota_holds;    /* tasks that had to wait for a quota of their cgroup */
	u64 quota_held_ns;  /* for so long */
	u64 lock_lends;	    /* waits of the game for a lock that gave its place to the holder */
};

/* Map `sched_state`, one entry, belongs to one sched object. */
struct scxg_sched_state {
	u64 generation; /* copy of .rodata, so that Python can check what it reads */
	u64 attached_ns;
	u64 ticks;	  /* timer callbacks */
	u64 timer_failed; /* errno of the timer's start, positive; 0 if it runs */
	u64 effects;	  /* 1: classes and windows take effect; 0: heartbeat stale */
	u64 effects_off;  /* times the dead-man switch went off */
	u64 stopping;
	u64 nr_queued;		    /* sum over queues at the last timer */
	u64 oldest_wait_ns;	    /* oldest queued task at the last timer */
	u64 oldest_wait_max_ns;	    /* largest oldest_wait_ns ever seen */
	u64 oldest_wait_recent_ns;  /* the same since the supervisor set it to 0 */
	u64 tasks[SCXG_NR_CLASSES]; /* live tasks by class, of this generation only */
};

/* Map `exit_info`, one entry: written once by ops.exit. */
struct scxg_exit_info {
	u64 generation;
	u64 time_ns;
	u64 kind; /* enum scx_exit_kind; 0 while the scheduler runs */
	u64 code;
	char reason[SCXG_EXIT_REASON_LEN];
	char msg[SCXG_EXIT_MSG_LEN];
	char dump[SCXG_EXIT_DUMP_LEN];
};

/* ---- network limit: netlimit alone ---------------------------------------------------------- */

enum scxg_net_limits {
	SCXG_NET_SLOTS = 128,	    /* entries of the map `slots`; 0 is never given away */
	SCXG_NET_MAX_TASKS = 4096,  /* entries of the map `tasks` */
	SCXG_NET_MAX_METERS = 4096, /* entries of the map `meters` */
};

enum scxg_net_dir {
	SCXG_NET_UP = 0, /* egress */
	SCXG_NET_DOWN = 1,
	SCXG_NR_NET_DIRS = 2,
};

/* What of an attached cgroup is charged. */
enum scxg_net_kind {
	SCXG_NET_CGROUP = 0, /* everything */
	SCXG_NET_TASK = 1,   /* sockets of processes in the map `tasks` */
};

/* Which remote addresses are charged. */
enum scxg_net_scope {
	SCXG_NET_INTERNET = 0, /* private, link-local and loopback ranges are left alone */
	SCXG_NET_ALL = 1,
};

/* Counters rise only; times are CLOCK_MONOTONIC. */
struct scxg_net_lane {
	u64 rate;    /* bytes a second; 0: not limited. Written by Python */
	u64 free_ns; /* when all that was let through would be through at that rate */
	u64 bytes;
	u64 packets;
	u64 dropped_bytes;
	u64 dropped_packets;
	u64 exempt_bytes; /* out of scope: let through uncharged */
};

/* Map `slots`: one limited cgroup each. Rate, kind, scope, serial by Python, the rest by BPF. */
struct scxg_net_slot {
	u64 serial; /* of the limit that holds the slot: a socket's tag must match it */
	u32 kind;
	u32 scope;
	struct scxg_net_lane lane[SCXG_NR_NET_DIRS];
};

/* Map `meters`: cgroup id -> bytes while somebody measures. */
struct scxg_net_meter {
	u64 up;
	u64 down;
};

#endif /* SCXG_ABI_H */
