/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which input events count as an act of the player, as arithmetic: no helper, no map, so that the host tests the very
 * same lines. scx_gamer/input/acts.py has the same for the evdev path; tests/policy holds the two equal.
 *
 * A key or button counts when it goes down or up, a relative axis when it moves. An absolute axis counts once it is
 * farther than its dead zone from where it last counted: the driver's flat or fuzz, or a share of its way, whichever
 * is most. Of a pointer the position counts alone: a pen that lies near its tablet jitters in tilt and distance. Of a
 * controller the axes beyond the hats do not count: hid-sony's and others' motion sensors are there. The first report of a
 * controller that has reported nothing tells where its axes are, and counts for none of them. Auto-repeat is no act: the
 * state of the key tells that it is held.
 */
#ifndef SCXG_INPUT_POLICY_H
#define SCXG_INPUT_POLICY_H

#include "abi.h"

/* input-event-codes.h of the kernel; the numbers are its ABI. */
#define SCXG_TYPE_KEY 0x01
#define SCXG_TYPE_REL 0x02
#define SCXG_TYPE_ABS 0x03
#define SCXG_KEY_REPEAT 2
#define SCXG_ABS_X 0x00
#define SCXG_ABS_Y 0x01
#define SCXG_ABS_WHEEL 0x08
#define SCXG_ABS_PRESSURE 0x18 /* the first code beyond levers and hats */
#define SCXG_ABS_MT_POSITION_X 0x35
#define SCXG_ABS_MT_POSITION_Y 0x36
#define SCXG_ABS_AXES 64  /* ABS_CNT */
#define SCXG_KEY_WORDS 12 /* KEY_CNT bits in words of 64 */

/*
 * How far an axis moves without being used, in thousandths of its way, unless the driver's flat or fuzz is more. A worn
 * or cheap stick wanders by 2 % (an arcade encoder at 128 to 133 of 255, github.com/Vegz78/McAirpos issue 10); games
 * ignore much more (XInput's dead zone is 24 % of half the way). Positions of pointers and wheels have shares of their
 * own, which the supervisor gives.
 */
#define SCXG_DEAD_PERMILLE 30

/* struct input_absinfo of the kernel. */
struct scxg_absinfo {
	s32 value;
	s32 minimum;
	s32 maximum;
	s32 fuzz;
	s32 flat;
	s32 resolution;
};

/* BTN_MISC to BTN_GEAR_UP, BTN_DPAD_*, BTN_TRIGGER_HAPPY*: what no keyboard types with. */
static inline bool scxg_is_button(u32 code)
{
	return (code >= 0x100 && code < 0x160) || (code >= 0x220 && code < 0x224) ||
	       (code >= 0x2c0 && code < 0x300);
}

/* The bits of word @i of the state of keys that are buttons. */
static inline u64 scxg_button_bits(u32 i)
{
	switch (i) {
	case 0x100 / 64:
		return ~0ULL;
	case 0x140 / 64:
		return 0xffffffffULL;
	case 0x220 / 64:
		return 0xfULL << (0x220 % 64);
	case 0x2c0 / 64:
		return ~0ULL;
	default:
		return 0;
	}
}

/*
 * The bits of word @i that hold a window open while they are down. Not KEY_RESERVED and KEY_UNKNOWN, which are what a
 * driver could not name and may be down for good, nor BTN_TOOL_*: which tool is near is no touch, BTN_TOUCH (0x14a) is.
 */
static inline u64 scxg_holding_bits(u32 i)
{
	switch (i) {
	case 0:
		return ~1ULL;
	case 240 / 64:
		return ~(1ULL << (240 % 64));
	case 0x140 / 64:
		return ~0xffffULL | 1ULL << (0x14a % 64);
	default:
		return ~0ULL;
	}
}

/* What an event is: SCXG_NR_SOURCES for what no player does. */
static inline u32 scxg_source_of(u32 type, u32 code)
{
	switch (type) {
	case SCXG_TYPE_KEY:
		return scxg_is_button(code) ? SCXG_SOURCE_BUTTON : SCXG_SOURCE_KEY;
	case SCXG_TYPE_REL:
		return SCXG_SOURCE_REL;
	case SCXG_TYPE_ABS:
		return code < SCXG_ABS_AXES ? SCXG_SOURCE_ABS : SCXG_NR_SOURCES;
	default:
		return SCXG_NR_SOURCES;
	}
}

/* Whether a key or a relative axis acts with this value. */
static inline bool scxg_value_acts(u32 source, s32 value)
{
	return source == SCXG_SOURCE_REL ? value != 0 : value != SCXG_KEY_REPEAT;
}

/* Whether an axis of a device in this lane is one that the player moves. */
static inline bool scxg_is_axis(u32 lane, u32 code)
{
	if (lane != SCXG_LANE_MOUSE)
		return code < SCXG_ABS_PRESSURE;
	return code == SCXG_ABS_X || code == SCXG_ABS_Y || code == SCXG_ABS_MT_POSITION_X ||
	       code == SCXG_ABS_MT_POSITION_Y;
}

/* The share of its way that is no act, where the device has a share of @permille for its finest axis. */
static inline u32 scxg_axis_permille(u32 lane, u32 code, u32 permille)
{
	bool fine = lane == SCXG_LANE_MOUSE || code == SCXG_ABS_X || code == SCXG_ABS_WHEEL;

	return fine || permille > SCXG_DEAD_PERMILLE ? permille : SCXG_DEAD_PERMILLE;
}

static inline u64 scxg_axis_way(const struct scxg_absinfo *a)
{
	return a->maximum > a->minimum ? (u64)((s64)a->maximum - a->minimum) : 0;
}

/*
 * How far an axis moves without being used. At most a quarter of the way, whatever the driver says: an axis of three
 * steps (a hat) counts with each. Nothing is known of the way of an axis without limits.
 */
static inline u64 scxg_axis_dead(const struct scxg_absinfo *a, u32 permille)
{
	u64 way = scxg_axis_way(a);
	u64 dead = way * permille / 1000;

	if (a->flat > 0 && (u64)a->flat > dead)
		dead = a->flat;
	if (a->fuzz > 0 && (u64)a->fuzz > dead)
		dead = a->fuzz;
	return way && dead > way / 4 ? way / 4 : dead;
}

/*
 * Whether the place where a device's axes are is where they rest; @any is not 0 if one of them is not 0. The kernel begins
 * with 0, which is an end of an unsigned X: such a controller has reported nothing yet.
 */
static inline bool scxg_is_rest(u32 lane, const struct scxg_absinfo *x, u32 any)
{
	return lane == SCXG_LANE_MOUSE || any || x->minimum < 0 || !scxg_axis_way(x);
}

static inline u64 scxg_distance(s32 a, s32 b)
{
	return a > b ? (u64)((s64)a - b) : (u64)((s64)b - a);
}

/* Whether an axis that last counted at @counted acts with @value. */
static inline bool scxg_axis_acts(u64 dead, s32 counted, s32 value)
{
	return scxg_distance(value, counted) > dead;
}

#endif /* SCXG_INPUT_POLICY_H */
