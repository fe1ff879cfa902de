/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine's events, whether or not the scheduler is attached. Each hook is a program of its own and may be missing;
 * `drain` alone is needed.
 *
 *   observe/window.bpf.h    boost windows, for the scheduler
 *   observe/input.bpf.h     reports of input devices open the window of their lane, before any reader sees them
 *   observe/process.bpf.h   exec, fork, rename and exit of followed processes, for the game detector
 *   observe/messages.bpf.h  the supervisor's messages: heartbeat, classes, tunables, held keys, evdev input
 */
#include "observe/window.bpf.h"
#include "observe/input.bpf.h"
#include "observe/process.bpf.h"
#include "observe/messages.bpf.h"

char _license[] SEC("license") = "GPL";

_Static_assert((int)SCXG_NR_MSGS <= (int)SCXG_MSG_SLOTS, "a message type has no counter");

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
