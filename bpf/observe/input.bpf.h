/* SPDX-License-Identifier: GPL-2.0-only */
/* Input: reports of devices, by fentry on the two ways into the input core. */
#ifndef SCXG_OBSERVE_INPUT_H
#define SCXG_OBSERVE_INPUT_H

#include "input_policy.h"
#include "window.bpf.h"

/* N of inputN -> lanes. Written by the supervisor, which classified the device; counters by on_input. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_MAX_DEVICES);
	__type(key, u32);
	__type(value, struct scxg_device);
} devices SEC(".maps");

/* Where each absolute axis of a device was before its first motion, which the supervisor reads, and last counted. */
struct axes {
	s32 rest[SCXG_ABS_AXES];
	s32 counted[SCXG_ABS_AXES];
};

/* N of inputN -> its axes. An entry is made before the device's first motion, and taken back by the supervisor. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_MAX_DEVICES);
	__type(key, u32);
	__type(value, struct axes);
} axes SEC(".maps");

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

static __always_inline u64 *known_device(u64 address)
{
	return &known_devices[(address >> 11) & (KNOWN_DEVICES - 1)];
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
		u32 code = i & (SCXG_ABS_AXES - 1);
		struct scxg_absinfo info;

		if (bpf_probe_read_kernel(&info, sizeof(info),
					  (void *)(absinfo + i * sizeof(info))))
			break;
		noted->rest[code] = noted->counted[code] = info.value;
	}
	return 0;
}

/* Whether an axis is farther from where it last counted than its dead zone; then it counted here. */
static __always_inline bool axis_acts(u32 number, u64 absinfo, struct scxg_device *device,
				      const struct input_value *v)
{
	u32 code = v->code & (SCXG_ABS_AXES - 1), lane = lane_of(device, SCXG_SOURCE_ABS);
	u32 permille = scxg_axis_permille(lane, code, device->dead_permille);
	struct scxg_absinfo info;
	struct axes *known;

	if (!scxg_is_axis(lane, code))
		return false;
	known = bpf_map_lookup_elem(&axes, &number);

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
		acts = source == SCXG_SOURCE_ABS ? axis_acts(number, absinfo, device, &v)
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
static __always_inline void on_first_value(struct input_dev *dev, u64 address)
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
	*known_device(address) = address;
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
static __always_inline int on_event(struct input_dev *dev, u64 address, unsigned int type,
				    unsigned int code)
{
	u32 count = dev->num_vals;

	if (type == SCXG_TYPE_ABS && *known_device(address) != address)
		on_first_value(dev, address);
	if (count && ((type == EV_SYN && code == SYN_REPORT) || count + 4 >= dev->max_vals))
		on_report(dev, count);
	return 0;
}

SEC("fentry/input_event")
int BPF_PROG(on_input, struct input_dev *dev, unsigned int type, unsigned int code, int value)
{
	u64 address = 0;

	bpf_get_func_arg(ctx, 0, &address); /* as a number: the verifier computes with no pointer */
	return on_event(dev, address, type, code);
}

/* What a program writes to a device's node: a remapper's events go this way, past input_event(). */
SEC("fentry/input_inject_event")
int BPF_PROG(on_inject, struct input_handle *handle, unsigned int type, unsigned int code,
	     int value)
{
	u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &handle->dev);
	return on_event(handle->dev, address, type, code);
}

#endif /* SCXG_OBSERVE_INPUT_H */
