/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What happens on the machine, whether or not the scheduler is attached: processes, input, and the messages of the
 * supervisor. Each hook is a program of its own and may be missing.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "input_policy.h"
#include "policy.h"
#include "shared_maps.h"
#include "events.h"

char _license[] SEC("license") = "GPL";

_Static_assert((int)SCXG_NR_MSGS <= (int)SCXG_MSG_SLOTS, "a message type has no counter");

/* Messages from the supervisor, its one producer; emptied by `drain`. */
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, SCXG_CONTROL_RING_BYTES);
} control_ring SEC(".maps");

/* N of inputN -> lanes. Written by the supervisor, which classified the device; counters by on_input. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_MAX_DEVICES);
	__type(key, u32);
	__type(value, struct scxg_device);
} devices SEC(".maps");

/* Where each absolute axis of a device last counted. */
struct axes {
	s32 counted[SCXG_ABS_AXES];
};

/* N of inputN -> its axes. An entry is made before the device's first motion, and taken back by the supervisor. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_MAX_DEVICES);
	__type(key, u32);
	__type(value, struct axes);
} axes SEC(".maps");

/*
 * First 15 characters of a program's name -> enum scxg_name_flag. Written by the games room, from what its rules look
 * for; read at each exec, so that all others never leave the kernel.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_MAX_NAMES);
	__type(key, char[SCXG_COMM_LEN]);
	__type(value, u32);
} names SEC(".maps");

/* Processes whose exec, fork, name and exit are told. Written at exec and fork, and by the games room. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_MAX_TRACKED);
	__type(key, u32);
	__type(value, struct scxg_tracked);
} tracked SEC(".maps");

/* Python reads the layout of messages and events from BTF, which keeps only what something refers to. */
struct scxg_msg scxg_anchor_msg = {};
struct scxg_event scxg_anchor_event = {};
struct scxg_tracked scxg_anchor_tracked = {};
enum scxg_limits scxg_anchor_limits = 0;
enum scxg_lane scxg_anchor_lane = 0;
enum scxg_held scxg_anchor_held = 0;
enum scxg_source scxg_anchor_source = 0;
enum scxg_class scxg_anchor_class = 0;
enum scxg_input_path scxg_anchor_path = 0;
enum scxg_tunable scxg_anchor_tunable = 0;
enum scxg_tunable_default scxg_anchor_default = 0;
enum scxg_tunable_min scxg_anchor_min = 0;
enum scxg_tunable_max scxg_anchor_max = 0;
enum scxg_times scxg_anchor_times = 0;
enum scxg_msg_type scxg_anchor_msg_type = 0;
enum scxg_event_type scxg_anchor_event_type = 0;
enum scxg_name_flag scxg_anchor_name_flag = 0;

/* Reserve an event; count it as lost when the ring is full. */
static __always_inline struct scxg_event *event_begin(struct scxg_control *ctl, u16 type)
{
	struct scxg_event *ev = scxg_event_begin(type);

	if (!ev) {
		__sync_fetch_and_add(&ctl->events_lost, 1);
		return NULL;
	}
	ev->generation = ctl->generation;
	ev->time_ns = bpf_ktime_get_ns();
	return ev;
}

/* One lane's state. The mask behind the barrier is for older verifiers, which forget that lane was checked. */
static __always_inline struct scxg_lane_state *lane_state(struct scxg_windows *win, u32 lane)
{
	_Static_assert((SCXG_NR_LANES & (SCXG_NR_LANES - 1)) == 0, "the mask needs a power of two");
	asm volatile("" : "+r"(lane));
	return &win->lane[lane & (SCXG_NR_LANES - 1)];
}

/* Keep a lane's window open until `until`, or `held_until`; the longer of old and new counts. */
static __always_inline void extend_window(struct scxg_control *ctl, struct scxg_lane_state *state,
					  u32 lane, u64 now, u64 until, u64 held_until)
{
	bool was_open = now < scxg_max(state->until_ns, state->held_until_ns);
	struct scxg_event *ev;

	state->until_ns = scxg_max(state->until_ns, until);
	state->held_until_ns = scxg_max(state->held_until_ns, held_until);
	if (was_open)
		return;
	state->opened++;
	/* Whoever hears of it asks which keys are held, which counts while a game runs. */
	if (!ctl->game_active)
		return;
	ev = event_begin(ctl, SCXG_EV_WINDOW);
	if (ev) {
		ev->lane = lane;
		bpf_ringbuf_submit(ev, 0);
	}
}

/* An input event of a lane, told by one of the two paths. */
static __always_inline void open_window(struct scxg_control *ctl, u32 lane, u32 path, u64 now,
					u64 until, u64 held_until)
{
	struct scxg_windows *win = scxg_windows();
	struct scxg_lane_state *state;

	if (!win || lane == SCXG_LANE_NONE || lane >= SCXG_NR_LANES || path >= SCXG_NR_PATHS)
		return;
	state = lane_state(win, lane);
	state->events[path & (SCXG_NR_PATHS - 1)]++;
	extend_window(ctl, state, lane, now, until, held_until);
}

/* ---- input ---------------------------------------------------------------------------------- */

/* The lane that an event of this source opens. */
static __always_inline u32 lane_of(struct scxg_device *device, u32 source)
{
	u32 lane = *((u8 *)device + (source & (SCXG_NR_SOURCES - 1)));

	_Static_assert(__builtin_offsetof(struct scxg_device, lane_key) == 0 &&
			   __builtin_offsetof(struct scxg_device, lane_abs) == SCXG_SOURCE_ABS,
		       "the lanes are in the order of enum scxg_source");
	return lane & (SCXG_NR_LANES - 1);
}

/* enum scxg_held of one lane. */
static __always_inline u32 held_in(u32 held, u32 lane)
{
	return held >> (lane * SCXG_HELD_BITS) & ((1 << SCXG_HELD_BITS) - 1);
}

/*
 * Make @held what the device holds, keeping the bits in @keep. A lane whose last holder lets go is closed at once, as
 * far as its window has ended; while another device holds it, the lease stays. A global function, as open_lane() is:
 * the verifier walks it once, not once for each way that leads to it.
 */
__noinline int set_held(u32 number, u32 held, u32 keep)
{
	struct scxg_device *device = bpf_map_lookup_elem(&devices, &number);
	struct scxg_windows *win = scxg_windows();
	u32 old, now;

	if (!device || !win)
		return 0;
	old = *(volatile u32 *)&device->held;
	now = held | (old & keep);
	/* Reports of a device come one after the other; who meets the drain's message leaves it to the next poll. */
	if (old == now || __sync_val_compare_and_swap(&device->held, old, now) != old)
		return 0;
#pragma unroll
	for (u32 lane = SCXG_LANE_NONE + 1; lane < SCXG_NR_LANES; lane++) {
		struct scxg_lane_state *state = &win->lane[lane];

		if (!held_in(old, lane) && held_in(now, lane))
			__sync_fetch_and_add(&state->holders, 1);
		else if (held_in(old, lane) && !held_in(now, lane) &&
			 __sync_fetch_and_add(&state->holders, -1) == 1)
			state->held_until_ns = 0;
	}
	return 0;
}

/* A report that counted: open the lane's window, and hold it where a key of the lane is down. */
__noinline int open_lane(u32 lane, u32 held)
{
	struct scxg_control *ctl = scxg_control();
	struct scxg_tunables *tun = scxg_tunables();
	u64 now = bpf_ktime_get_ns();

	if (ctl && tun)
		open_window(ctl, lane, SCXG_PATH_KERNEL, now, now + scxg_boost_ns(tun, lane),
			    held ? now + SCXG_HELD_LEASE_MS * SCXG_NS_PER_MS : 0);
	return 0;
}

/* N of the name "inputN" at this address, or -1. Global, so that what follows is walked once, not for each length. */
__noinline int input_number(u64 address)
{
	char name[16] = {};
	int number = 0, i;

	if (bpf_probe_read_kernel_str(name, sizeof(name), (void *)address) < 7)
		return -1;
	if (name[0] != 'i' || name[4] != 't')
		return -1;
#pragma unroll
	for (i = 5; i < 14; i++) {
		if (name[i] == '\0')
			return number;
		if (name[i] < '0' || name[i] > '9')
			return -1;
		number = number * 10 + (name[i] - '0');
	}
	return -1;
}

/*
 * The lanes that keys hold, as enum scxg_held by lane. The device itself is asked: a count of our own would drift. No
 * code leaves this function.
 */
static __always_inline u32 keys_held(struct input_dev *dev, struct scxg_device *device)
{
	u64 keys = 0, buttons = 0;
	u32 held = 0;

#pragma unroll
	for (u32 i = 0; i < SCXG_KEY_WORDS; i++) {
		u64 down = dev->key[i] & scxg_holding_bits(i);

		keys |= down & ~scxg_button_bits(i);
		buttons |= down & scxg_button_bits(i);
	}
	if (keys)
		held |= SCXG_HELD_KEYS << (lane_of(device, SCXG_SOURCE_KEY) * SCXG_HELD_BITS);
	if (buttons)
		held |= SCXG_HELD_KEYS << (lane_of(device, SCXG_SOURCE_BUTTON) * SCXG_HELD_BITS);
	return held & SCXG_HELD_ALL;
}

/* Addresses of devices whose axes are in the map, or of no interest; a device that collides is looked up each time. */
#define KNOWN_DEVICES 64
static u64 known_devices[KNOWN_DEVICES];

static __always_inline u64 *known_device(struct input_dev *dev)
{
	return &known_devices[((u64)dev >> 11) & (KNOWN_DEVICES - 1)];
}

/* Note where the axes of a device are, unless that is known. Addresses as numbers: see sources_acting(). */
__noinline int note_axes(u32 number, u64 absinfo)
{
	static const struct axes none = {};
	struct axes *noted;
	int i;

	if (!absinfo || bpf_map_update_elem(&axes, &number, &none, BPF_NOEXIST))
		return 0;
	noted = bpf_map_lookup_elem(&axes, &number);
	if (!noted)
		return 0;
	bpf_for(i, 0, SCXG_ABS_AXES)
	{
		struct scxg_absinfo info;

		if (bpf_probe_read_kernel(&info, sizeof(info),
					  (void *)(absinfo + i * sizeof(info))))
			break;
		noted->counted[i & (SCXG_ABS_AXES - 1)] = info.value;
	}
	return 0;
}

/* Whether an axis is farther from where it last counted than its dead zone; then it counted here. */
static __always_inline bool axis_acts(u32 number, u64 absinfo, u32 permille,
				      const struct input_value *v)
{
	struct axes *known = bpf_map_lookup_elem(&axes, &number);
	u32 code = v->code & (SCXG_ABS_AXES - 1);
	struct scxg_absinfo info;

	if (!known) {
		note_axes(number, absinfo); /* as it is now: this report does not count */
		return false;
	}
	if (bpf_probe_read_kernel(&info, sizeof(info), (void *)(absinfo + code * sizeof(info))) ||
	    !scxg_axis_acts(&info, permille, known->counted[code], v->value))
		return false;
	known->counted[code] = v->value;
	return true;
}

/*
 * The sources that act in @count values that the input core kept of a report, bit a source. Addresses as numbers, since
 * a global function takes no pointer of the kernel's; both are read with care.
 */
__noinline int sources_acting(u32 number, u32 count, u64 vals, u64 absinfo)
{
	struct scxg_device *device = bpf_map_lookup_elem(&devices, &number);
	u32 acting = 0;
	int i;

	if (!device)
		return 0;
	bpf_for(i, 0, (int)count)
	{
		struct input_value v;
		u32 source;
		bool acts;

		if (bpf_probe_read_kernel(&v, sizeof(v), (void *)(vals + i * sizeof(v))))
			break;
		source = scxg_source_of(v.type, v.code);
		if (source == SCXG_NR_SOURCES || lane_of(device, source) == SCXG_LANE_NONE)
			continue;
		acts = source == SCXG_SOURCE_ABS
			   ? axis_acts(number, absinfo, device->dead_permille, &v)
			   : scxg_value_acts(source, v.value);
		acting |= (u32)acts << source;
	}
	return acting;
}

static __always_inline int number_of(struct input_dev *dev)
{
	u64 name = 0;

	bpf_probe_read_kernel(&name, sizeof(name), &dev->dev.kobj.name);
	return input_number(name);
}

/* The device's first absolute value, before the core takes it: where all of its axes are is known now or never. */
static __always_inline void on_first_value(struct input_dev *dev)
{
	int number = number_of(dev);
	struct scxg_device *device;
	u64 absinfo = 0;
	u32 key = number;

	device = number < 0 ? NULL : bpf_map_lookup_elem(&devices, &key);
	if (!device)
		return; /* it may get a lane yet */
	if (lane_of(device, SCXG_SOURCE_ABS) != SCXG_LANE_NONE) {
		bpf_probe_read_kernel(&absinfo, sizeof(absinfo), &dev->absinfo);
		note_axes(key, absinfo);
	}
	*known_device(dev) = (u64)dev;
}

/* A report has ended, or what the core kept of it fills its buffer. Not passed on yet: no reader is told before us. */
static __always_inline void on_report(struct input_dev *dev, u32 count)
{
	u32 key, acting, held = 0, lanes = 0;
	struct scxg_device *device;
	u64 vals = 0, absinfo = 0;
	int number = number_of(dev);

	if (number < 0)
		return;
	key = number;
	device = bpf_map_lookup_elem(&devices, &key);
	if (!device)
		return;
	device->reports++;
	device->grabbed = dev->grab != NULL;
	bpf_probe_read_kernel(&vals, sizeof(vals), &dev->vals);
	bpf_probe_read_kernel(&absinfo, sizeof(absinfo), &dev->absinfo);
	acting = sources_acting(key, count, vals, absinfo);
	if (!acting)
		return;
	device->acts++;
	device->last_ns = bpf_ktime_get_ns();
	if (acting & (1 << SCXG_SOURCE_KEY | 1 << SCXG_SOURCE_BUTTON)) {
		held = keys_held(dev, device);
		set_held(key, held, SCXG_HELD_ALL_AXES);
	}
#pragma unroll
	for (u32 source = 0; source < SCXG_NR_SOURCES; source++)
		lanes |= (acting >> source & 1) << lane_of(device, source);
#pragma unroll
	for (u32 lane = SCXG_LANE_NONE + 1; lane < SCXG_NR_LANES; lane++)
		if (lanes & 1 << lane)
			open_lane(lane, held_in(held, lane));
}

/*
 * Drivers report every control in every report, pressed or not; the core drops what did not change, what is within the
 * axis' fuzz, and all of an inhibited device. What it kept is in dev->vals until the report ends, when it is passed to
 * the readers, so one look then sees what they will. A report of more values is passed in parts: input_event_dispose()
 * does so when two places are left, which one event may fill.
 */
static __always_inline int on_event(struct input_dev *dev, unsigned int type, unsigned int code)
{
	u32 count = dev->num_vals;

	if (type == SCXG_TYPE_ABS && *known_device(dev) != (u64)dev)
		on_first_value(dev);
	if (count && ((type == EV_SYN && code == SYN_REPORT) || count + 4 >= dev->max_vals))
		on_report(dev, count);
	return 0;
}

SEC("fentry/input_event")
int BPF_PROG(on_input, struct input_dev *dev, unsigned int type, unsigned int code, int value)
{
	return on_event(dev, type, code);
}

/* What a program writes to a device's node: a remapper's events go this way, past input_event(). */
SEC("fentry/input_inject_event")
int BPF_PROG(on_inject, struct input_handle *handle, unsigned int type, unsigned int code,
	     int value)
{
	return on_event(handle->dev, type, code);
}

/* ---- processes ------------------------------------------------------------------------------ */

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

/* Whether this process is followed: as part of a tree, by its name, or because it has a class. */
static __always_inline bool followed(u32 tgid)
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
	/* The name that the kernel has just given it: the file's own. */
	bpf_probe_read_kernel_str(name, sizeof(name), p->comm);
	flags = bpf_map_lookup_elem(&names, name);
	if (flags) {
		entry.start_ns = p->group_leader->start_boottime;
		entry.flags = *flags;
		known = bpf_map_lookup_elem(&tracked, &tgid);
		if (known)
			entry.flags |= known->flags;
		bpf_map_update_elem(&tracked, &tgid, &entry, BPF_ANY);
	} else if (!ctl->watch_execs && !followed(tgid)) {
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

	/* The process is gone with its last thread, whichever thread that is. */
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
	/* What a compositor starts is no compositor: its class stays with it. */
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

	if (!ctl || p->pid != p->tgid || !followed(p->tgid))
		return 0;
	process_event(ctl, SCXG_EV_RENAME, p, 0, NULL);
	return 0;
}

/* ---- messages ------------------------------------------------------------------------------- */

struct drain_ctx {
	struct scxg_control *ctl;
	u64 now;
};

static __always_inline bool class_set(struct scxg_control *ctl, const struct scxg_msg *msg, u64 now)
{
	struct scxg_class_entry entry = {
	    .class_id = msg->class_id,
	    .generation = msg->generation,
	    .start_ns = msg->start_ns,
	};
	u32 tgid = msg->tgid;

	if (!tgid || msg->class_id >= SCXG_CLASS_KTHREAD)
		return false;
	if (bpf_map_update_elem(&classes, &tgid, &entry, BPF_ANY))
		return false;
	__sync_fetch_and_add(&ctl->class_epoch, 1);
	if (msg->value && msg->time_ns < now) {
		u64 delay = now - msg->time_ns;

		ctl->class_delay_hist[scxg_wait_bucket(delay) & (SCXG_WAIT_BUCKETS - 1)]++;
		ctl->class_delay_sum_ns += delay;
		ctl->class_delay_max_ns = scxg_max(ctl->class_delay_max_ns, delay);
	}
	return true;
}

static __always_inline bool held_set(struct scxg_control *ctl, const struct scxg_msg *msg, u64 now)
{
	struct scxg_windows *win = scxg_windows();
	struct scxg_device *device;
	u32 number = msg->index;

	device = bpf_map_lookup_elem(&devices, &number);
	if (!device || !win || msg->value & ~(u64)SCXG_HELD_ALL)
		return false;
	set_held(number, msg->value, 0);
#pragma unroll
	for (u32 lane = SCXG_LANE_NONE + 1; lane < SCXG_NR_LANES; lane++)
		if (held_in(msg->value, lane))
			extend_window(ctl, &win->lane[lane], lane, now, 0,
				      now + SCXG_HELD_LEASE_MS * SCXG_NS_PER_MS);
	return true;
}

static __always_inline bool apply(struct scxg_control *ctl, const struct scxg_msg *msg, u64 now)
{
	struct scxg_tunables *tun = scxg_tunables();
	u32 index = msg->index, tgid = msg->tgid;

	if (!tun)
		return false;
	switch (msg->type) {
	case SCXG_MSG_HEARTBEAT:
		ctl->heartbeat_ns = now;
		return true;
	case SCXG_MSG_INPUT:
		if (index == SCXG_LANE_NONE || index >= SCXG_NR_LANES)
			return false;
		ctl->input_delay_ns = now - scxg_min(msg->time_ns, now);
		ctl->input_delay_max_ns = scxg_max(ctl->input_delay_max_ns, ctl->input_delay_ns);
		/* The event's own time counts, but a stamp from the future opens nothing longer. */
		open_window(ctl, index, SCXG_PATH_EVDEV, now,
			    scxg_min(msg->time_ns, now) + scxg_boost_ns(tun, index), 0);
		return true;
	case SCXG_MSG_HELD:
		return held_set(ctl, msg, now);
	case SCXG_MSG_CLASS_SET:
		return class_set(ctl, msg, now);
	case SCXG_MSG_CLASS_DEL:
		bpf_map_delete_elem(&classes, &tgid);
		__sync_fetch_and_add(&ctl->class_epoch, 1);
		return true;
	case SCXG_MSG_FOCUS:
		ctl->focus_tgid = tgid;
		ctl->focus_away = tgid && msg->value;
		return true;
	case SCXG_MSG_TUNABLE:
		if (index >= SCXG_NR_TUNABLES)
			return false;
		tun->value[index] = scxg_clamp_tunable(index, msg->value);
		return true;
	case SCXG_MSG_GAME_ACTIVE:
		ctl->game_active = msg->value != 0;
		return true;
	default:
		return false;
	}
}

static long on_message(struct bpf_dynptr *dynptr, void *context)
{
	struct drain_ctx *ctx = context;
	struct scxg_control *ctl = ctx->ctl;
	struct scxg_msg msg;
	long done;

	/* Returning 1 ends the run after this message: one run is bounded. */
	done = ++ctl->drain_seen >= SCXG_CONTROL_BATCH;

	if (bpf_dynptr_read(&msg, sizeof(msg), dynptr, 0, 0)) {
		ctl->msgs_unknown++;
		return done;
	}
	if (msg.version != SCXG_ABI_VERSION || msg.type == SCXG_MSG_NONE ||
	    msg.type >= SCXG_NR_MSGS) {
		ctl->msgs_unknown++;
		return done;
	}
	if (msg.generation != ctl->generation) {
		ctl->msgs_stale++;
		return done;
	}
	if (apply(ctl, &msg, ctx->now))
		ctl->msgs[msg.type & (SCXG_MSG_SLOTS - 1)]++;
	else
		ctl->msgs_invalid++;
	return done;
}

/* Run once per pass of the supervisor's loop. Returns the number of messages looked at. */
SEC("syscall")
int drain(void *unused)
{
	struct drain_ctx ctx = {.ctl = scxg_control(), .now = bpf_ktime_get_ns()};

	if (!ctx.ctl)
		return 0;
	/* The count is kept in the map: as a local it would make the verifier walk every one of its values. */
	ctx.ctl->drains++;
	ctx.ctl->drain_seen = 0;
	bpf_user_ringbuf_drain(&control_ring, on_message, &ctx, 0);
	return ctx.ctl->drain_seen;
}
