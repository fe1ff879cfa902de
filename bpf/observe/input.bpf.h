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
__noinline int set_held(struct scxg_device *device, u32 held, u32 keep)
{
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
__noinline int open_lane(u32 lane, u32 held, u64 now)
{
	struct scxg_control *ctl = scxg_control();
	struct scxg_tunables *tun = scxg_tunables();

	if (ctl && tun)
		open_window(ctl, lane, SCXG_PATH_KERNEL, now, now + scxg_boost_ns(tun, lane),
			    held ? now + SCXG_HELD_LEASE_MS * SCXG_NS_PER_MS : 0);
	return 0;
}

/*
 * may_goto, 6.9 on, as bytes for compilers that do not know it: false after millions of rounds, so that the verifier
 * walks a loop whose length it does not know. Two instructions, where each round of bpf_for() is a call.
 */
#define can_loop                                                                                   \
	({                                                                                         \
		__label__ over, on;                                                                \
		bool goes = true;                                                                  \
		asm volatile goto("1: .byte 0xe5, 0; .long ((%l[over] - 1b - 8) / 8) & 0xffff; "   \
				  ".short 0" ::                                                    \
				      :                                                            \
				  : over);                                                         \
		goto on;                                                                           \
	over:                                                                                      \
		goes = false;                                                                      \
	on:                                                                                        \
		goes;                                                                              \
	})

/*
 * Eight bytes of the kernel's as a number: one load, with the exception table behind it, where bpf_probe_read_kernel() is
 * a call. A pointer that is loaded by its own type stays a pointer, with which the verifier computes nothing.
 */
static __always_inline u64 load_u64(u64 address)
{
	return bpf_core_cast((void *)address, struct timespec64)->tv_sec;
}

/*
 * N of the name "inputN" at this address, or -1. Eight bytes at a time: an allocation is aligned so, and ends within
 * none. Global, so that what follows is walked once, not for each length.
 */
__noinline int input_number(u64 address)
{
	u64 word = load_u64(address);
	int number = 0, i;

	if ((u8)word != 'i' || (u8)(word >> 32) != 't')
		return -1;
#pragma unroll
	for (i = 5; i < 14; i++) {
		u8 digit;

		if (i == 8)
			word = load_u64(address + 8);
		digit = word >> (i % 8 * 8);
		if (digit == '\0')
			return i > 5 ? number : -1;
		if (digit < '0' || digit > '9')
			return -1;
		number = number * 10 + (digit - '0');
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

/*
 * Devices whose axes are in the map, or of no interest: address and beginning of the name, since the next device may get
 * the address of one that went. A device that collides is looked up each time.
 */
#define KNOWN_DEVICES 64
static struct known_device {
	u64 address;
	u64 name;
} known_devices[KNOWN_DEVICES];

static __always_inline struct known_device *known_device(u64 address)
{
	return &known_devices[(address >> 11) & (KNOWN_DEVICES - 1)];
}

static __always_inline u64 name_of(u64 address)
{
	return load_u64(address + bpf_core_field_offset(((struct input_dev *)0)->dev.kobj.name));
}

static __always_inline bool is_known(u64 address)
{
	struct known_device *known = known_device(address);

	return known->address == address && known->name == load_u64(name_of(address));
}

/* Note where the axes of a device are, unless that is known. Addresses as numbers: see lanes_acting(). */
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
		u64 one = absinfo + i * sizeof(struct scxg_absinfo);
		u32 code = i & (SCXG_ABS_AXES - 1);

		noted->rest[code] = bpf_core_cast((void *)one, struct input_absinfo)->value;
		noted->counted[code] = noted->rest[code];
	}
	return 0;
}

static __always_inline u64 absinfo_of(u64 address)
{
	return load_u64(address + bpf_core_field_offset(((struct input_dev *)0)->absinfo));
}

/* Whether an axis is farther from where it last counted than its dead zone; then it counted here. */
static __always_inline bool axis_acts(u32 number, u64 address, struct scxg_device *device,
				      const struct input_value *v)
{
	u32 code = v->code & (SCXG_ABS_AXES - 1), lane = lane_of(device, SCXG_SOURCE_ABS);
	u32 permille = scxg_axis_permille(lane, code, device->dead_permille);
	u64 absinfo = absinfo_of(address);
	struct input_absinfo *info;
	struct scxg_absinfo limits;
	struct axes *known;

	if (!scxg_is_axis(lane, code))
		return false;
	known = bpf_map_lookup_elem(&axes, &number);
	if (!known) {
		note_axes(number, absinfo); /* as it is now: this report does not count */
		return false;
	}
	info = bpf_core_cast((void *)(absinfo + code * sizeof(limits)), struct input_absinfo);
	limits.minimum = info->minimum;
	limits.maximum = info->maximum;
	limits.fuzz = info->fuzz;
	limits.flat = info->flat;
	if (!scxg_axis_acts(&limits, permille, known->counted[code], v->value))
		return false;
	known->counted[code] = v->value;
	return true;
}

#define KEYS_ACTED (1 << SCXG_NR_LANES)

/*
 * The lane that the value at @at opens, as a bit, with KEYS_ACTED for a key; 0 for no act. Global, so that the verifier
 * walks it once: within the loop it kept each set of lanes apart, 213,000 instructions on 6.12.
 */
__noinline int value_acting(struct scxg_device *device, u32 number, u64 address, u64 at)
{
	const struct input_value *v = bpf_core_cast((void *)at, struct input_value);
	u32 source = scxg_source_of(v->type, v->code), lane;

	if (!device || source == SCXG_NR_SOURCES)
		return 0;
	lane = lane_of(device, source);
	if (lane == SCXG_LANE_NONE)
		return 0;
	if (source == SCXG_SOURCE_ABS)
		return axis_acts(number, address, device, v) ? 1 << lane : 0;
	if (!scxg_value_acts(source, v->value))
		return 0;
	return 1 << lane | (source <= SCXG_SOURCE_BUTTON ? KEYS_ACTED : 0);
}

/*
 * The lanes that open for @count values that the input core kept of a report, bit a lane, and whether keys are among the
 * values. The device's address as a number, since a global function takes no pointer of the kernel's.
 */
__noinline int lanes_acting(struct scxg_device *device, u32 number, u32 count, u64 address)
{
	u32 acting = 0;
	u64 at, end;

	if (!device)
		return 0;
	at = load_u64(address + bpf_core_field_offset(((struct input_dev *)0)->vals));
	end = at + count * sizeof(struct input_value);
	for (; at < end && can_loop; at += sizeof(struct input_value))
		acting |= value_acting(device, number, address, at);
	return acting;
}

/* The device's first absolute value, before the core takes it: where all of its axes are is known now or never. */
static __always_inline void on_first_value(u64 address)
{
	int number = input_number(name_of(address));
	struct scxg_device *device;
	u32 key = number;

	device = number < 0 ? NULL : bpf_map_lookup_elem(&devices, &key);
	if (!device)
		return; /* it may get a lane yet */
	if (lane_of(device, SCXG_SOURCE_ABS) != SCXG_LANE_NONE)
		note_axes(key, absinfo_of(address));
	known_device(address)->name = load_u64(name_of(address));
	known_device(address)->address = address;
}

/* A report has ended, or what the core kept of it fills its buffer. Not passed on yet: no reader is told before us. */
static __always_inline void on_report(struct input_dev *dev, u64 address, u32 count)
{
	int number = input_number(name_of(address));
	struct scxg_device *device;
	u32 key, acting, held = 0;
	u64 now;

	if (number < 0)
		return;
	key = number;
	device = bpf_map_lookup_elem(&devices, &key);
	if (!device)
		return;
	device->reports++;
	device->grabbed = dev->grab != NULL;
	acting = lanes_acting(device, key, count, address);
	if (!acting)
		return;
	device->acts++;
	device->last_ns = now = bpf_ktime_get_ns();
	if (acting & KEYS_ACTED) {
		held = keys_held(dev, device);
		set_held(device, held, SCXG_HELD_ALL_AXES);
	}
#pragma unroll
	for (u32 lane = SCXG_LANE_NONE + 1; lane < SCXG_NR_LANES; lane++)
		if (acting & 1 << lane)
			open_lane(lane, held_in(held, lane), now);
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

	if (type == SCXG_TYPE_ABS && !is_known(address))
		on_first_value(address);
	if (count && ((type == EV_SYN && code == SYN_REPORT) || count + 4 >= dev->max_vals))
		on_report(dev, address, count);
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
