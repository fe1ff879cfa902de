# SPDX-License-Identifier: GPL-2.0-or-later
"""The values of a snapshot, as samples of the metrics. The names are those of specs.py."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_gamer.metrics.specs import SPECS
from scx_gamer.scheduler import sysfs
from scx_gamer.scheduler.exits import KIND_NAMES
from scx_gamer.scheduler.machine import State

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import NetworkCounters, ProfileFacts, SnapshotBody

NS = 1e-9  # in seconds
_BUS_CALLS = dict.fromkeys(("answered", "refused", "malformed"), 0)

# One sample: name, label values, value.
Sample = tuple[str, tuple[str, ...], float]


@dataclass(frozen=True)
class Names:
    """Labels in the order of the ABI's enums."""

    classes: Mapping[int, str]
    messages: Mapping[int, str]
    paths: Mapping[int, str]


@functools.cache
def shipped_names() -> Names:
    """Return the names of the installed object's enums. Raises BpfError without an object."""
    from scx_gamer.libbpf import shipped_abi

    abi = shipped_abi()
    return Names(abi.names("class"), abi.names("msg"), abi.names("path"))


def samples(snap: SnapshotBody, names: Names) -> Iterator[Sample]:
    """Yield all values but the histograms'. Values that the snapshot lacks are not exported."""
    yield from _supervisor(snap)
    yield from _detection(snap)
    yield from _kernel(snap)
    yield from _messages(snap, names)
    yield from _input(snap, names)
    yield from _by_class(snap, names)
    yield from _maxima(snap.get("recent_maxima", {}), names)
    yield from _scheduler(snap)
    if "network_counters" in snap:
        yield from _network(snap["network_counters"])
    yield from _process(snap, _PROCESS)


def standard_samples(snap: SnapshotBody) -> Iterator[Sample]:
    """Yield the values of the metrics that every process has."""
    yield from _process(snap, _STANDARD)


def _process(snap: SnapshotBody, fields: Mapping[str, tuple[str, float]]) -> Iterator[Sample]:
    found = snap.get("process", {})
    for field, (metric, factor) in fields.items():
        if field in found:
            yield metric, (), found[field] * factor


def _each(name: str, values: Mapping[str, float]) -> Iterator[Sample]:
    for label, value in values.items():
        yield name, (label,), value


def _supervisor(snap: SnapshotBody) -> Iterator[Sample]:
    yield "build_info", (snap["version"],), 1
    yield "mode", (snap["mode"],), 1
    for state in State:
        yield "state", (str(state),), str(state) == snap.get("state")
    yield "uptime_seconds", (), snap["uptime_s"]
    yield "unclean_ends", (), snap["unclean_ends"]
    yield "sleeps", (), snap["sleeps"]
    yield "generation", (), snap["generation"]
    yield "retry_seconds", (), snap.get("retry_in_s") or 0
    yield "games", (), len(snap["games"])
    yield "game_active", (), bool(snap["games"])
    if frames := snap.get("frames"):
        if frames["source"]:
            yield "game_fps", (frames["source"],), frames["recent_fps"]
        if not frames["gpu"]["why"]:
            yield "game_gpu_busy_ratio", (), frames["gpu"]["busy"]
            yield "game_gpu_jobs", (), frames["gpu"]["jobs"]
    if "counters" in snap:
        yield from _each("attaches", snap["counters"]["attaches"])
        yield from _each("exits", dict.fromkeys(KIND_NAMES, 0) | snap["counters"]["exits"])
        yield "restarts", (), snap["counters"]["restarts"]
    for hook, said in snap.get("hooks", {}).items():
        yield "hook_loaded", (hook,), said == "ok"
    if "profile" in snap:
        yield from _profile(snap["profile"])
    bus = snap.get("bus", {})
    yield "bus_connected", (), bus.get("connected", False)
    yield from _each("bus_calls", _BUS_CALLS | bus.get("calls", {}))
    yield "bus_over_budget", (), bus.get("over_budget", 0)
    yield "bus_holds", (), len(bus.get("holds", ()))
    yield "units_held", (), len(snap.get("resources", {}).get("held", ()))
    yield from _each("session_hints", snap.get("session_hints") or {})
    if "sessions" in snap:
        yield "sessions", (), snap["sessions"]["recorded"]
        yield "session_write_errors", (), snap["sessions"]["write_errors"]
    loop = snap["loop"]
    yield "loop_passes", (), loop["passes"]
    yield "loop_lag_seconds", (), loop["lag_last_ms"] / 1e3


def _profile(profile: ProfileFacts) -> Iterator[Sample]:
    yield "profile", (profile["active"],), 1
    yield "profile_changes", (), profile["changes"]
    yield "profile_errors", (), len(profile["errors"])
    yield from _each("profile_reloads", profile["reloads"])
    yield "profiles_disabled", (), len(profile["disabled"])
    yield from _each("tunable", profile["tunables"])


def _detection(snap: SnapshotBody) -> Iterator[Sample]:
    found = snap.get("detection")
    if found is None:
        return
    yield from _each("detections", found["by_rule"])
    for source in ("bpf", "netlink", "poll"):
        yield "process_source", (source,), source == found["source"]
    yield from _each("processes_classed", found["classes"])
    yield "reconciles", (), found["reconciles"]
    yield "process_losses", (), found["losses"]
    yield from _each("threads_by_role", found["thread_roles"])
    yield from _each("hints", found["hints"])
    control = snap.get("control", {})
    if "execs_told" in control:
        yield "execs_told", (), control["execs_told"][0]


def _kernel(snap: SnapshotBody) -> Iterator[Sample]:
    kernel = snap["kernel"]
    yield "kernel_info", (kernel["release"],), 1
    yield "enabled", (), kernel["sched_ext"] == "enabled"
    yield "foreign_scheduler", (), kernel["loaded"] not in ("", sysfs.OURS)
    for metric, count in (
        ("kernel_enable_seq", snap.get("enable_seq")),
        ("kernel_rejected", snap.get("nr_rejected")),
    ):
        if count is not None:
            yield metric, (), count
    yield from _each("kernel_events", snap.get("kernel_events", {}))


def _messages(snap: SnapshotBody, names: Names) -> Iterator[Sample]:
    control = snap.get("control", {})
    for number, count in enumerate(control.get("msgs", ())):
        if number and number in names.messages:
            yield "messages", (names.messages[number],), count
    for reason in ("stale", "unknown", "invalid"):
        if f"msgs_{reason}" in control:
            yield "messages_refused", (reason,), control[f"msgs_{reason}"][0]
    for event in ("execs", "exits", "forks"):
        if event in control:
            yield "process_events", (event.removesuffix("s"),), control[event][0]
    if "events_lost" in control:
        yield "ring_lost", ("observe",), control["events_lost"][0]
    if "feed" in snap:
        feed = snap["feed"]
        lost = {str(kind).lower(): count for kind, count in feed["dropped"].items()}
        known = dict.fromkeys((name for number, name in names.messages.items() if number), 0)
        yield from _each("messages_lost", known | lost)
        yield "control_ring_full", (), feed["ring_full"]
        yield "messages_waiting", (), feed["waiting"]
    if "events" in snap:
        events = snap["events"]
        by_type = {str(kind).lower(): count for kind, count in events["by_type"].items()}
        yield from _each("events", by_type)
        yield "events_refused", ("stale",), events["stale"]
        yield "events_refused", ("unknown",), events["unknown"]
        yield "event_handler_failures", (), events["handler_failures"]


def _input(snap: SnapshotBody, names: Names) -> Iterator[Sample]:
    for path in (*names.paths.values(), "none"):
        yield "input_path", (path,), path == snap["input"]["path"]
    yield from _each("input_devices", snap["input"].get("lanes", {}))
    yield "input_held", (), snap["input"].get("held", 0)
    yield from _each("input_work", snap.get("input_counters", {}))
    control = snap.get("control", {})
    if "input_delay_ns" in control:
        yield "input_delay_seconds", (), control["input_delay_ns"][0] * NS
    for lane, window in snap.get("windows", {}).items():
        yield "windows_opened", (lane,), window["opened"][0]
        for number, path in names.paths.items():
            yield "input_events", (lane, path), window["events"][number]


def _network(net: NetworkCounters) -> Iterator[Sample]:
    for name in ("limits", "refusals", "orphans", "orphaned", "leftovers"):
        if name in net:
            yield f"network_{name}", (), net[name]
    for key, value in net.get("traffic", {}).items():
        direction, _, name = key.partition(".")
        verdict, unit = _VERDICTS[name]
        yield f"network_{unit}", (direction, verdict), value


def _by_class(snap: SnapshotBody, names: Names) -> Iterator[Sample]:
    stats = snap.get("cpu_stats", {})
    for field, (metric, factor) in _CLASS_STATS.items():
        for number, value in enumerate(stats.get(field, ())):
            yield metric, (names.classes[number],), value * factor


def _maxima(found: Mapping[str, Sequence[int]], names: Names) -> Iterator[Sample]:
    for name, values in found.items():
        for number, value in enumerate(values):
            labels = (names.classes[number],) if SPECS[f"{name}_max_seconds"].labels else ()
            yield f"{name}_max_seconds", labels, value * NS


def _scheduler(snap: SnapshotBody) -> Iterator[Sample]:
    stats = snap.get("cpu_stats", {})
    for field, (metric, factor) in _PLAIN_STATS.items():
        if field in stats:
            yield metric, (), stats[field][0] * factor
    if "events_lost" in stats:
        yield "ring_lost", ("sched",), stats["events_lost"][0]
    live = snap.get("scheduler")
    if live is not None:
        yield "timer_ticks", (), live["ticks"]
        yield "timer_error", (), live["timer_failed"]
        yield "effects", (), live["effects"]
        yield "effects_off", (), live["effects_off"]
        yield "queued", (), live["nr_queued"]
        yield "oldest_wait_seconds", (), live["oldest_wait_ns"] * NS
        yield from _each("tasks", live["tasks"])
    for program, (ns, runs) in snap.get("programs", {}).items():
        yield "program_seconds", (program,), ns * NS
        yield "program_runs", (program,), runs


# What scxg_net_lane counts: verdict and unit.
_VERDICTS = {
    "bytes": ("passed", "bytes"),
    "packets": ("passed", "packets"),
    "dropped_bytes": ("dropped", "bytes"),
    "dropped_packets": ("dropped", "packets"),
    "exempt_bytes": ("exempt", "bytes"),
}


def _metrics(*fields: str) -> dict[str, tuple[str, float]]:
    """Return the metrics of fields of scxg_cpu_stats, with their factors: times are exported in seconds."""
    return {
        field: (f"{field.removesuffix('_ns')}_seconds", NS) if field.endswith("_ns") else (field, 1)
        for field in fields
    }


_CLASS_STATS = _metrics("enqueues", "runs", "run_ns", "idle_inserts", "migrations", "preempt_kicks")
_PLAIN_STATS = _metrics(
    "slice_cuts", "keep_running", "steals", "boosted", "urgent", "urgent_refused", "home_moves", "quota_holds",
    "quota_held_ns", "lock_lends", "game_home_ns", "game_away_ns", "shield_kicks", "shield_ns",
) | {"ctx_missing": ("context_missing", 1), "ctx_reset": ("context_resets", 1)}  # fmt: skip
# Fields of the process, and the metrics that they become.
_STANDARD = {
    "cpu_ns": ("process_cpu_seconds", NS),
    "resident_bytes": ("process_resident_memory_bytes", 1),
    "open_fds": ("process_open_fds", 1),
    "start_time_s": ("process_start_time_seconds", 1),
}
_PROCESS = {
    "cpu_ns": ("process_cpu_seconds", NS),
    "resident_bytes": ("process_resident_bytes", 1),
    "open_fds": ("process_open_fds", 1),
    "threads": ("process_threads", 1),
}


def wait_buckets(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Cumulative Prometheus buckets of one class. Bucket i of abi.h counts waits below
    2^i us that the bucket before does not; the last one takes the rest."""
    found: list[tuple[str, float]] = []
    total = 0
    for number, count in enumerate(counts):
        total += count
        last = number == len(counts) - 1
        found.append(("+Inf" if last else repr(2.0**number / 1e6), total))
    return found
