/* SPDX-License-Identifier: GPL-2.0-only */
/* Input: reports of devices, by fentry on the two ways into the input core. */
#ifndef SCXG_OBSERVE_INPUT_H
#define SCXG_OBSERVE_INPUT_H

#include "input_policy.h"
#include "window.bpf.h"

/* Lanes and counters of a device. Written by the supervisor, which classified it; counters by on_input. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCXG_MAX_DEVICES);
	__type(key, u32);
	__type(value, struct scxg_device);
} devices SEC(".maps");

/* "inputN" -> slot, the device's place in the maps `devices` and `axes`. Written by the supervisor. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SCXG_MAX_DEVICES);
	__type(key, char[SCXG_INPUT_NAME_LEN]);
	__type(value, u32);
} device_slots SEC(".maps");

/*
 * Where each absolute axis of a device was before its first motion, which the supervisor reads, where it last counted,
 * and its dead zone by the limits of that time, which is all of its way for an axis that no player moves.
 */
struct axes {
	s32 rest[SCXG_ABS_AXES];
	s32 counted[SCXG_ABS_AXES];
	u32 dead[SCXG_ABS_AXES];
};

/* Slot -> axes, of use once scxg_device.noted is set: before the device's first motion. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
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

/* Whether a device is at this slot: one without a lane has none. */
static __always_inline bool has_lane(const struct scxg_device *device)
{
	return device->lane_key || device->lane_button || device->lane_rel || device->lane_abs;
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

/* A report that counted: open the lane's window. */
__noinline int open_lane(u32 lane, u64 now)
{
	struct scxg_control *ctl = scxg_control();
	struct scxg_tunables *tun = scxg_tunables();

	if (ctl && tun)
		open_window(ctl, lane, SCXG_PATH_KERNEL, now, now + scxg_boost_ns(tun, lane), 0);
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
 * Slots of devices by address, SCXG_MAX_DEVICES for one without a lane, so that a report costs no look-up of its device's
 * name. They are good until the supervisor changes a device; of a device that goes it hears before the next one acts.
 */
#define KNOWN_DEVICES 64
static volatile struct known_device {
	u64 address;
	u32 epoch;
	u32 slot;
} known_devices[KNOWN_DEVICES];

static __always_inline volatile struct known_device *known_device(u64 address)
{
	return &known_devices[(address >> 11) & (KNOWN_DEVICES - 1)];
}

static __always_inline bool is_known(u64 address)
{
	volatile struct known_device *known = known_device(address);
	struct scxg_control *ctl = scxg_control();

	return ctl && known->address == address && known->epoch == (u32)ctl->devices_epoch;
}

/* The dead zone of the axis that has its limits at this address. Global: walked once, not for each axis and lane. */
__noinline int axis_dead(u32 lane, u32 code, u32 permille, u64 at)
{
	struct input_absinfo *info = bpf_core_cast((void *)at, struct input_absinfo);
	struct scxg_absinfo limits = {
	    .minimum = info->minimum,
	    .maximum = info->maximum,
	    .fuzz = info->fuzz,
	    .flat = info->flat,
	};

	if (!scxg_is_axis(lane, code))
		return ~0U;
	return scxg_axis_dead(&limits, scxg_axis_permille(lane, code, permille));
}

/* Note where the axes of a device are, unless that is known. Addresses as numbers: see lanes_acting(). */
__noinline int note_axes(u32 slot, u64 absinfo)
{
	struct scxg_device *device = bpf_map_lookup_elem(&devices, &slot);
	struct axes *noted = bpf_map_lookup_elem(&axes, &slot);
	struct input_absinfo *first;
	struct scxg_absinfo x = {};
	u32 any = 0, lane;
	int i;

	if (!device || !noted || !absinfo || device->noted)
		return 0;
	lane = lane_of(device, SCXG_SOURCE_ABS);
	if (lane == SCXG_LANE_NONE)
		return 0;
	bpf_for(i, 0, SCXG_ABS_AXES)
	{
		u64 at = absinfo + i * sizeof(struct scxg_absinfo);
		struct input_absinfo *info = bpf_core_cast((void *)at, struct input_absinfo);
		u32 code = i & (SCXG_ABS_AXES - 1);

		noted->rest[code] = info->value;
		noted->counted[code] = noted->rest[code];
		noted->dead[code] = axis_dead(lane, code, device->dead_permille, at);
		any |= noted->rest[code];
	}
	first = bpf_core_cast((void *)absinfo, struct input_absinfo); /* of ABS_X */
	x.minimum = first->minimum;
	x.maximum = first->maximum;
	device->noted = scxg_is_rest(lane, &x, any);
	return 0;
}

static __always_inline u64 absinfo_of(u64 address)
{
	return load_u64(address + bpf_core_field_offset(((struct input_dev *)0)->absinfo));
}

/* The device at this address is not known: find its slot, and note where its axes are, now or never. */
__noinline int learn_device(u64 address)
{
	u64 at = load_u64(address + bpf_core_field_offset(((struct input_dev *)0)->dev.kobj.name));
	volatile struct known_device *known = known_device(address);
	struct scxg_control *ctl = scxg_control();
	char name[SCXG_INPUT_NAME_LEN] = {};
	u32 *slot, epoch;

	if (!ctl)
		return 0;
	epoch = *(volatile u64 *)&ctl->devices_epoch; /* before the look-up */
	bpf_probe_read_kernel_str(name, sizeof(name), (void *)at);
	slot = bpf_map_lookup_elem(&device_slots, name);
	if (slot)
		note_axes(*slot, absinfo_of(address));
	known->address = 0; /* a report of another device, on another CPU, may look here */
	known->slot = slot ? *slot : SCXG_MAX_DEVICES;
	known->epoch = epoch;
	known->address = address;
	return 0;
}

/* Whether an axis is farther from where it last counted than its dead zone; then it counted here. */
static __always_inline bool axis_acts(u32 slot, u64 address, struct scxg_device *device, u32 code,
				      s32 value)
{
	struct axes *known = bpf_map_lookup_elem(&axes, &slot);

	code &= SCXG_ABS_AXES - 1;
	if (!known)
		return false;
	if (!device->noted) {
		note_axes(slot, absinfo_of(address)); /* as it is now: this report does not count */
		return false;
	}
	if (!scxg_axis_acts(known->dead[code], known->counted[code], value))
		return false;
	known->counted[code] = value;
	return true;
}

#define KEYS_ACTED (1 << SCXG_NR_LANES)

/*
 * The lane that the value at @at opens, as a bit, with KEYS_ACTED for a key; 0 for no act. Global, so that the verifier
 * walks it once: within the loop it kept each set of lanes apart, 213,000 instructions on 6.12.
 */
__noinline int value_acting(struct scxg_device *device, u32 slot, u64 address, u64 at)
{
	u64 v = load_u64(at); /* type, code and value of a struct input_value: one load */
	u32 code = (u16)(v >> 16), source = scxg_source_of((u16)v, code), lane;
	s32 value = v >> 32;

	if (!device || source == SCXG_NR_SOURCES)
		return 0;
	lane = lane_of(device, source);
	if (lane == SCXG_LANE_NONE)
		return 0;
	if (source == SCXG_SOURCE_ABS)
		return axis_acts(slot, address, device, code, value) ? 1 << lane : 0;
	if (!scxg_value_acts(source, value))
		return 0;
	return 1 << lane | (source <= SCXG_SOURCE_BUTTON ? KEYS_ACTED : 0);
}

/*
 * The lanes that open for @count values that the input core kept of a report, bit a lane, and whether keys are among the
 * values. The device's address as a number, since a global function takes no pointer of the kernel's.
 */
__noinline int lanes_acting(struct scxg_device *device, u32 slot, u32 count, u64 address)
{
	u32 acting = 0;
	u64 at, end;

	if (!device)
		return 0;
	at = load_u64(address + bpf_core_field_offset(((struct input_dev *)0)->vals));
	end = at + count * sizeof(struct input_value);
	for (; at < end && can_loop; at += sizeof(struct input_value))
		acting |= value_acting(device, slot, address, at);
	return acting;
}

/* Keep the lanes of @acting open in which a key is down now. */
static __always_inline void hold_lanes(struct input_dev *dev, struct scxg_device *device,
				       u32 acting, u64 now)
{
	u64 lease = now + SCXG_HELD_LEASE_MS * SCXG_NS_PER_MS;
	struct scxg_windows *win = scxg_windows();
	u32 held = keys_held(dev, device);

	set_held(device, held, SCXG_HELD_ALL_AXES);
	if (!win)
		return;
#pragma unroll
	for (u32 lane = SCXG_LANE_NONE + 1; lane < SCXG_NR_LANES; lane++)
		if (acting & 1 << lane && held_in(held, lane))
			win->lane[lane].held_until_ns =
			    scxg_max(win->lane[lane].held_until_ns, lease);
}

/*
 * A report has ended, or what the core kept of it fills its buffer. Not passed on yet: no reader is told before us. The
 * windows open first, since the report waits meanwhile.
 */
static __always_inline void on_report(struct input_dev *dev, u64 address, u32 count)
{
	struct scxg_device *device;
	u32 slot, acting;

	if (!is_known(address))
		learn_device(address);
	slot = known_device(address)->slot;
	device = bpf_map_lookup_elem(&devices, &slot);
	if (!device)
		return;
	acting = lanes_acting(device, slot, count, address);
	if (acting) {
		u64 now = bpf_ktime_get_ns();

#pragma unroll
		for (u32 lane = SCXG_LANE_NONE + 1; lane < SCXG_NR_LANES; lane++)
			if (acting & 1 << lane)
				open_lane(lane, now);
		if (acting & KEYS_ACTED)
			hold_lanes(dev, device, acting, now);
		device->acts++;
		device->last_ns = now;
	}
	device->reports++;
	device->grabbed = dev->grab != NULL;
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
		learn_device(address); /* before the core takes the value */
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
