# SPDX-License-Identifier: GPL-2.0-or-later
"""Name and meaning of every metric. docs/metrics.md and the dashboard are tested against them."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "scx_gamer_"


@dataclass(frozen=True)
class Spec:
    """One metric. `kind` is counter, gauge or histogram."""

    kind: str
    help: str
    labels: tuple[str, ...] = ()


def _c(text: str, *labels: str) -> Spec:
    return Spec("counter", text, labels)


def _g(text: str, *labels: str) -> Spec:
    return Spec("gauge", text, labels)


# Of any process, by the names that Prometheus' client libraries have agreed on: dashboards of others know these.
STANDARD: dict[str, Spec] = {
    "process_cpu_seconds": _c("CPU time of the supervisor."),
    "process_resident_memory_bytes": _g("Memory of the supervisor."),
    "process_open_fds": _g("Open file descriptors of the supervisor."),
    "process_start_time_seconds": _g("Start of the supervisor, in seconds since 1970."),
}

# Counters are listed without the _total that the exposition adds.
SPECS: dict[str, Spec] = {
    "build_info": _g("Always 1; the version in its label.", "version"),
    "kernel_info": _g("Always 1; the running kernel's release in its label.", "release"),
    "mode": _g("1 for the configured mode.", "mode"),
    "state": _g("1 for the supervisor's state, 0 for the others.", "state"),
    "enabled": _g("1 while the kernel says that a sched_ext scheduler is enabled."),
    "foreign_scheduler": _g("1 while a sched_ext scheduler that is not ours is loaded."),
    "kernel_enable_seq": _c("Schedulers enabled since boot, as the kernel counts."),
    "kernel_rejected": _c("Tasks the kernel refused to the scheduler (nr_rejected)."),
    "kernel_events": _c("Lines of sched_ext's root/events of the loaded scheduler.", "event"),
    "attaches": _c("Attempts to attach, by result.", "result"),
    "exits": _c("Ends of the scheduler, by kind.", "kind"),
    "restarts": _c("Restarts of the scheduler after an exit."),
    "retry_seconds": _g("Seconds until the next attempt to attach; 0 when none is due."),
    "uptime_seconds": _g("Seconds since the supervisor started."),
    "sleeps": _c("Suspends, and stops of the supervisor, after which devices were asked again."),
    "unclean_ends": _g("Supervisors that did not end by themselves, as far as state.json knows."),
    "generation": _g("Generation of the newest scheduler; survives the supervisor."),
    "game_active": _g("1 while a game is known."),
    "games": _g("Games known now."),
    "detections": _c("Games found, by the rule that found them.", "rule"),
    "process_source": _g("1 for where process events come from.", "source"),
    "processes_classed": _g("Processes with a class, by class.", "class"),
    "exec_to_class_seconds": Spec("histogram", "From exec to the class in the kernel's map."),
    "exec_to_class_max_seconds": _g("Longest way from exec to class in the last minute."),
    "execs_told": _c("Execs that left the kernel: the others are nothing the rules look for."),
    "reconciles": _c("Looks at all of /proc: at the start, every 30 s, after lost events."),
    "process_losses": _c("Times process events were lost, and /proc was read instead."),
    "threads_by_role": _g("Threads of games by what facts show they do.", "role"),
    "game_fps": _g(
        "Frames a second of the game in the last ten seconds, by the source that tells.", "source"
    ),
    "game_frame_seconds": Spec(
        "histogram",
        "Frame times of the game since it began, by the source that tells.",
        ("source",),
    ),
    "game_gpu_busy_ratio": _g(
        "Share of the last ten seconds in which the GPU had a job of the game; absent where it is unknown."
    ),
    "game_gpu_jobs": _g(
        "Jobs of the game that the GPU did in the last ten seconds; absent where they are unknown."
    ),
    "hints": _c("Hints from user sessions, by kind.", "kind"),
    "hook_loaded": _g("1 if an optional BPF program is loaded.", "hook"),
    "input_path": _g("1 for the path that opens the windows.", "path"),
    "input_devices": _g("Input devices watched, by lane.", "lane"),
    "input_held": _g("Devices with a key down or a stick off its rest."),
    "input_work": _c(
        "Work of the input monitor: devices added and removed, polls, resyncs, floods, errors, events missed.",
        "kind",
    ),
    "input_events": _c("Input reports that counted, by lane and path.", "lane", "path"),
    "input_delay_seconds": _g("From the newest input event to its window, on the evdev path."),
    "input_delay_max_seconds": _g(
        "Longest way from input event to window in the last minute, on the evdev path."
    ),
    "input_to_run_seconds": Spec(
        "histogram", "From an input report to the first run of the game's thread that it woke."
    ),
    "windows_opened": _c("Times a lane's boost window went from closed to open.", "lane"),
    "process_events": _c("Process events seen in the kernel.", "event"),
    "messages": _c("Control messages the kernel accepted, by type.", "type"),
    "messages_refused": _c("Control messages the kernel refused.", "reason"),
    "messages_lost": _c("Control messages that found no room, by type.", "type"),
    "messages_waiting": _g("Control messages kept until there is room."),
    "control_ring_full": _c("Times the control ring had no room."),
    "events": _c("Kernel events handled, by type.", "type"),
    "events_refused": _c("Kernel events dropped: other generation, or unknown.", "reason"),
    "event_handler_failures": _c("Kernel events whose handling failed."),
    "ring_lost": _c("Events lost because the event ring was full.", "side"),
    "enqueues": _c("Tasks put into a queue.", "class"),
    "runs": _c("Times a task started to run.", "class"),
    "run_seconds": _c("CPU time given.", "class"),
    "idle_inserts": _c("Wake-ups that found an idle CPU.", "class"),
    "migrations": _c("Runs on another CPU than the one before.", "class"),
    "preempt_kicks": _c("CPUs kicked, by the class that asked.", "class"),
    "wait_seconds": Spec("histogram", "Runnable wait, from queue to CPU.", ("class",)),
    "wait_max_seconds": _g("Longest runnable wait in the last minute.", "class"),
    "tasks": _g("Live tasks of this generation.", "class"),
    "slice_cuts": _c("Long slices cut in tick because somebody waited."),
    "keep_running": _c("Times dispatch found nobody else and the task went on."),
    "steals": _c("Tasks taken from another cache's queue."),
    "boosted": _c("Enqueues with an input window open."),
    "urgent": _c(
        "Wake-ups of threads in step with a clock, or in a chain behind one, that went before the game's work."
    ),
    "urgent_refused": _c("The same that did not, because such threads had used up their share."),
    "home_moves": _c("Running threads of the game that were moved to a CPU of its home."),
    "quota_holds": _c("Tasks that had to wait for the quota of a cgroup (cpu.max)."),
    "quota_held_seconds": _c("For how long such tasks waited."),
    "lock_lends": _c("Waits of the game for a lock whose holder got its place."),
    "game_home_seconds": _c(
        "CPU time of the game on the CPUs of its home: all of it where all CPUs are alike."
    ),
    "game_away_seconds": _c("CPU time of the game on slower cores, or beside a smaller cache."),
    "shield_kicks": _c(
        "Tasks taken off a CPU because the other half of its core began to compute for the game."
    ),
    "shield_seconds": _c(
        "Time that the other half of a core was kept idle while the game computed."
    ),
    "context_missing": _c("Task contexts that could not be had."),
    "context_resets": _c("Task contexts of another generation that were reset."),
    "queued": _g("Tasks in the queues at the last timer."),
    "oldest_wait_seconds": _g("Wait of the oldest queued task at the last timer."),
    "oldest_wait_max_seconds": _g(
        "Largest oldest wait of the loaded scheduler in the last minute."
    ),
    "timer_ticks": _c("Timer callbacks of the loaded scheduler."),
    "timer_error": _g("errno of the loaded scheduler's timer start; 0 if it runs."),
    "effects": _g("1 while classes and windows take effect; 0 with a stale heartbeat."),
    "effects_off": _c("Times in this life the dead-man switch turned effects off."),
    "program_seconds": _c(
        "Time spent in a BPF program; grows while kernel.bpf_stats_enabled is 1.", "program"
    ),
    "program_runs": _c(
        "Runs of a BPF program; grows while kernel.bpf_stats_enabled is 1.", "program"
    ),
    "profile": _g("1 for the active profile.", "profile"),
    "profile_changes": _c("Times another profile, or another mode of one, came into force."),
    "profile_errors": _g("Configuration and profile files that cannot be used."),
    "profile_reloads": _c("Times the files were read again, by result.", "result"),
    "profiles_disabled": _g("Profiles disabled because the scheduler failed under them alone."),
    "tunable": _g("Tunables as the kernel has them, each in the unit of its name.", "tunable"),
    "bus_connected": _g("1 while the service is on the system bus."),
    "bus_calls": _c("Calls over the bus, by what became of them.", "result"),
    "bus_over_budget": _c("Calls of the bus refused unread because their user's share was spent."),
    "bus_holds": _g("Profiles held by programs."),
    "units_held": _g("Properties of systemd's units held for a game."),
    "session_hints": _c("Hints from user sessions, by what became of them.", "result"),
    "sessions": _c("Sessions of games that ended and were recorded."),
    "session_write_errors": _c("Writes of the database of sessions that failed."),
    "loop_passes": _c("Passes of the event loop."),
    "loop_pass_max_seconds": _g("Longest pass of the event loop in the last minute."),
    "loop_lag_seconds": _g("How late the event loop's last timer ran."),
    "loop_lag_max_seconds": _g("How late any timer of the event loop ran in the last minute."),
    "process_cpu_seconds": _c("Old name of process_cpu_seconds_total, for one release."),
    "process_resident_bytes": _g("Old name of process_resident_memory_bytes, for one release."),
    "process_open_fds": _g("Old name of process_open_fds, for one release."),
    "process_threads": _g("Threads of the supervisor."),
    "network_limits": _g("cgroups whose traffic is limited now."),
    "network_bytes": _c("Bytes of limited cgroups, by verdict.", "direction", "verdict"),
    "network_packets": _c("Packets of limited cgroups, by verdict.", "direction", "verdict"),
    "network_refusals": _c("Limits refused: the game or a protected program would be held."),
    "network_orphans": _g("cgroups from which our programs could not be taken yet."),
    "network_orphaned": _c("Times our programs could not be taken from a cgroup at once."),
    "network_leftovers": _g("Programs of an earlier supervisor that this one took away."),
    "scrape_seconds": _g("How long this scrape took to gather."),
}
