# SPDX-License-Identifier: GPL-2.0-only
"""Every metric: what it is called, where its value comes from. Read at scrape time only.

prometheus-client is imported at the first scrape: a supervisor nobody scrapes does not pay for it.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from scx_gamer import kernelstate
from scx_gamer.exits import KIND_NAMES
from scx_gamer.exporter import Exporter
from scx_gamer.machine import State
from scx_gamer.text import printable

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX = "scx_gamer_"


class Source(Protocol):
    """Who is asked: Supervisor.snapshot(). Called from the exporter's thread, so it only reads."""

    def snapshot(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Names:
    """Labels in the order of the ABI's enums."""

    classes: Mapping[int, str]
    messages: Mapping[int, str]
    paths: Mapping[int, str]


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
    "exec_to_class_max_seconds": _g("Longest way from exec to class since the supervisor started."),
    "execs_told": _c("Execs that left the kernel: the others are nothing the rules look for."),
    "reconciles": _c("Looks at all of /proc: at the start, every 30 s, after lost events."),
    "process_losses": _c("Times process events were lost, and /proc was read instead."),
    "threads_by_role": _g("Threads of games by what facts show they do.", "role"),
    "hints": _c("Hints from user sessions, by kind.", "kind"),
    "hook_loaded": _g("1 if an optional BPF program is loaded.", "hook"),
    "input_path": _g("1 for the path that opens the windows.", "path"),
    "input_devices": _g("Input devices watched, by lane.", "lane"),
    "input_held": _g("Devices with a key down or a stick off its rest."),
    "input_work": _c(
        "What the input room did: devices added and removed, polls, resyncs, floods, errors.",
        "kind",
    ),
    "input_events": _c("Input reports seen, by lane and path.", "lane", "path"),
    "input_delay_seconds": _g("From the newest input event to its window, on the evdev path."),
    "input_delay_max_seconds": _g("Longest way from input event to window, on the evdev path."),
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
    "wait_max_seconds": _g("Longest runnable wait since the supervisor started.", "class"),
    "tasks": _g("Live tasks of this generation.", "class"),
    "slice_cuts": _c("Long slices cut in tick because somebody waited."),
    "keep_running": _c("Times dispatch found nobody else and the task went on."),
    "steals": _c("Tasks taken from another cache's queue."),
    "boosted": _c("Enqueues with an input window open."),
    "context_missing": _c("Task contexts that could not be had."),
    "context_resets": _c("Task contexts of another generation that were reset."),
    "queued": _g("Tasks in the queues at the last timer."),
    "oldest_wait_seconds": _g("Wait of the oldest queued task at the last timer."),
    "oldest_wait_max_seconds": _g("Largest oldest wait of the loaded scheduler."),
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
    "bus_rests": _c("Times reading of the bus rested because too much was sent."),
    "bus_holds": _g("Profiles held by programs."),
    "session_hints": _c("Hints from user sessions, by what became of them.", "result"),
    "loop_passes": _c("Passes of the event loop."),
    "loop_pass_max_seconds": _g("Longest pass of the event loop."),
    "loop_lag_seconds": _g("How late the event loop's last timer ran."),
    "loop_lag_max_seconds": _g("How late any timer of the event loop ran."),
    "process_cpu_seconds": _c("CPU time of the supervisor."),
    "process_resident_bytes": _g("Memory of the supervisor."),
    "process_open_fds": _g("Open file descriptors of the supervisor."),
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

_S = 1e-9
_BUS_CALLS = dict.fromkeys(("answered", "refused", "malformed"), 0)

# One sample: name, label values, value.
Sample = tuple[str, tuple[str, ...], float]
Snapshot = Mapping[str, Any]


@functools.cache
def shipped_names() -> Names:
    """Names of the enums in the object that is loaded. Raises BpfError without one."""
    from scx_gamer.libbpf import Abi, find_object, object_btf

    abi = Abi(object_btf(find_object("observe")))
    return Names(abi.names("class"), abi.names("msg"), abi.names("path"))


def samples(snap: Snapshot, names: Names) -> Iterator[Sample]:
    """All values but the histogram's. What the snapshot lacks is not exported."""
    yield from _supervisor(snap)
    yield from _detection(snap)
    yield from _kernel(snap)
    yield from _messages(snap, names)
    yield from _input(snap, names)
    yield from _by_class(snap, names)
    yield from _scheduler(snap)
    yield from _network(snap.get("network_counters", {}))
    for name, (metric, factor) in _PROCESS.items():
        if name in snap.get("process", {}):
            yield metric, (), snap["process"][name] * factor


def _each(name: str, values: Mapping[str, float]) -> Iterator[Sample]:
    for label, value in values.items():
        yield name, (label,), value


def _supervisor(snap: Snapshot) -> Iterator[Sample]:
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
    counters = snap.get("counters", {})
    yield from _each("attaches", counters.get("attaches", {}))
    yield from _each("exits", dict.fromkeys(KIND_NAMES, 0) | counters.get("exits", {}))
    yield "restarts", (), counters.get("restarts", 0)
    for hook, said in snap.get("hooks", {}).items():
        yield "hook_loaded", (hook,), said == "ok"
    yield from _profile(snap.get("profile") or {})
    bus = snap.get("bus", {})
    yield "bus_connected", (), bus.get("connected", False)
    yield from _each("bus_calls", _BUS_CALLS | bus.get("calls", {}))
    yield "bus_rests", (), bus.get("rests", 0)
    yield "bus_holds", (), len(bus.get("holds", ()))
    yield from _each("session_hints", snap.get("session_hints") or {})
    loop = snap["loop"]
    yield "loop_passes", (), loop["passes"]
    yield "loop_lag_seconds", (), loop["lag_last_ms"] / 1e3
    yield "loop_lag_max_seconds", (), loop["lag_max_ms"] / 1e3
    yield "loop_pass_max_seconds", (), loop["pass_max_ms"] / 1e3


def _profile(profile: Mapping[str, Any]) -> Iterator[Sample]:
    if not profile:
        return
    yield "profile", (profile["active"],), 1
    yield "profile_changes", (), profile["changes"]
    yield "profile_errors", (), len(profile["errors"])
    yield from _each("profile_reloads", profile["reloads"])
    yield "profiles_disabled", (), len(profile["disabled"])
    yield from _each("tunable", profile["tunables"])


def _detection(snap: Snapshot) -> Iterator[Sample]:
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
        yield "exec_to_class_max_seconds", (), control["class_delay_max_ns"][0] * _S


def _kernel(snap: Snapshot) -> Iterator[Sample]:
    kernel = snap["kernel"]
    yield "kernel_info", (kernel["release"],), 1
    yield "enabled", (), kernel["sched_ext"] == "enabled"
    yield "foreign_scheduler", (), kernel["loaded"] not in ("", kernelstate.OURS)
    if snap.get("enable_seq") is not None:
        yield "kernel_enable_seq", (), snap["enable_seq"]
    if snap.get("nr_rejected") is not None:
        yield "kernel_rejected", (), snap["nr_rejected"]
    yield from _each("kernel_events", snap.get("kernel_events", {}))


def _messages(snap: Snapshot, names: Names) -> Iterator[Sample]:
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
    feed = snap.get("feed", {})
    lost = {str(kind).lower(): count for kind, count in feed.get("dropped", {}).items()}
    known = dict.fromkeys((name for number, name in names.messages.items() if number), 0)
    yield from _each("messages_lost", known | lost)
    if "ring_full" in feed:
        yield "control_ring_full", (), feed["ring_full"]
        yield "messages_waiting", (), feed["waiting"]
    events = snap.get("events", {})
    yield from _each(
        "events", {str(kind).lower(): n for kind, n in events.get("by_type", {}).items()}
    )
    for reason in ("stale", "unknown"):
        if reason in events:
            yield "events_refused", (reason,), events[reason]
    if "handler_failures" in events:
        yield "event_handler_failures", (), events["handler_failures"]


def _input(snap: Snapshot, names: Names) -> Iterator[Sample]:
    for path in (*names.paths.values(), "none"):
        yield "input_path", (path,), path == snap["input"]["path"]
    yield from _each("input_devices", snap["input"].get("lanes", {}))
    yield "input_held", (), snap["input"].get("held", 0)
    yield from _each("input_work", snap.get("input_counters", {}))
    control = snap.get("control", {})
    if "input_delay_ns" in control:
        yield "input_delay_seconds", (), control["input_delay_ns"][0] * _S
        yield "input_delay_max_seconds", (), control["input_delay_max_ns"][0] * _S
    for lane, window in snap.get("windows", {}).items():
        yield "windows_opened", (lane,), window["opened"][0]
        for number, path in names.paths.items():
            yield "input_events", (lane, path), window["events"][number]


def _network(net: Mapping[str, Any]) -> Iterator[Sample]:
    for name in ("limits", "refusals", "orphans", "orphaned", "leftovers"):
        if name in net:
            yield f"network_{name}", (), net[name]
    for key, value in net.get("traffic", {}).items():
        direction, _, name = key.partition(".")
        verdict, unit = _VERDICTS[name]
        yield f"network_{unit}", (direction, verdict), value


def _by_class(snap: Snapshot, names: Names) -> Iterator[Sample]:
    stats = snap.get("cpu_stats", {})
    for field, (metric, factor) in _CLASS_STATS.items():
        for number, value in enumerate(stats.get(field, ())):
            yield metric, (names.classes[number],), value * factor


def _scheduler(snap: Snapshot) -> Iterator[Sample]:
    stats = snap.get("cpu_stats", {})
    for field, metric in _PLAIN_STATS.items():
        if field in stats:
            yield metric, (), stats[field][0]
    if "events_lost" in stats:
        yield "ring_lost", ("sched",), stats["events_lost"][0]
    live = snap.get("scheduler") or {}
    for field, (metric, factor) in _LIVE.items():
        if field in live:
            yield metric, (), live[field] * factor
    yield from _each("tasks", live.get("tasks", {}))
    for program, (ns, runs) in snap.get("programs", {}).items():
        yield "program_seconds", (program,), ns * _S
        yield "program_runs", (program,), runs


# What scxg_net_lane counts: verdict and unit.
_VERDICTS = {
    "bytes": ("passed", "bytes"),
    "packets": ("passed", "packets"),
    "dropped_bytes": ("dropped", "bytes"),
    "dropped_packets": ("dropped", "packets"),
    "exempt_bytes": ("exempt", "bytes"),
}
# What scxg_cpu_stats, scxg_sched_state and the process offer, and as what it is exported.
_CLASS_STATS = {
    "enqueues": ("enqueues", 1),
    "runs": ("runs", 1),
    "run_ns": ("run_seconds", _S),
    "idle_inserts": ("idle_inserts", 1),
    "migrations": ("migrations", 1),
    "preempt_kicks": ("preempt_kicks", 1),
    "wait_max_ns": ("wait_max_seconds", _S),
}
_PLAIN_STATS = {
    "slice_cuts": "slice_cuts",
    "keep_running": "keep_running",
    "steals": "steals",
    "boosted": "boosted",
    "ctx_missing": "context_missing",
    "ctx_reset": "context_resets",
}
_LIVE = {
    "ticks": ("timer_ticks", 1),
    "timer_failed": ("timer_error", 1),
    "effects": ("effects", 1),
    "effects_off": ("effects_off", 1),
    "nr_queued": ("queued", 1),
    "oldest_wait_ns": ("oldest_wait_seconds", _S),
    "oldest_wait_max_ns": ("oldest_wait_max_seconds", _S),
}
_PROCESS = {
    "cpu_ns": ("process_cpu_seconds", _S),
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


class Collector:
    """Asks `source` once for each scrape."""

    def __init__(self, source: Source, names: Names | None = None) -> None:
        self._source = source
        self._names = names

    def collect(self) -> Iterator[Metric]:
        """All metrics, grouped by name."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        begin = time.monotonic()
        names = self._names or shipped_names()
        snap = self._source.snapshot()
        found: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, labels, value in samples(snap, names):
            family = found.get(name)
            if family is None:
                spec = SPECS[name]
                make = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
                family = make(PREFIX + name, spec.help, labels=spec.labels)
                found[name] = family
            family.add_metric([printable(label, 64) for label in labels], float(value))
        yield from found.values()
        stats = snap.get("cpu_stats", {})
        if "wait_hist" in stats:
            spec = SPECS["wait_seconds"]
            waits = HistogramMetricFamily(PREFIX + "wait_seconds", spec.help, labels=spec.labels)
            size = len(stats["wait_hist"]) // len(stats["wait_sum_ns"])
            for number, total in enumerate(stats["wait_sum_ns"]):
                counts = stats["wait_hist"][number * size : (number + 1) * size]
                waits.add_metric([names.classes[number]], wait_buckets(counts), total * _S)
            yield waits
        control = snap.get("control", {})
        if "class_delay_hist" in control:
            delays = HistogramMetricFamily(
                PREFIX + "exec_to_class_seconds", SPECS["exec_to_class_seconds"].help
            )
            total_s = control["class_delay_sum_ns"][0] * _S
            delays.add_metric([], wait_buckets(control["class_delay_hist"]), total_s)
            yield delays
        spent = time.monotonic() - begin
        yield GaugeMetricFamily(PREFIX + "scrape_seconds", SPECS["scrape_seconds"].help, spent)


def scrape(source: Source, names: Names | None = None) -> bytes:
    """One scrape in the text format, from a registry that holds nothing but ours."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(source, names))
    return generate_latest(registry)


@dataclass(frozen=True)
class Taken:
    """A snapshot that came over the control socket."""

    body: dict[str, Any]

    def snapshot(self) -> dict[str, Any]:
        return self.body


def text_of(snapshot: dict[str, Any]) -> str:
    """One scrape of a snapshot that is already here."""
    return scrape(Taken(snapshot)).decode()


def exporter(source: Source, address: str, port: int) -> Exporter:
    """Serve `source` on a loopback address until close(). Raises ExporterError."""
    return Exporter(address.strip("[]"), port, functools.partial(scrape, source))


def process() -> dict[str, int]:
    """This process, for its own snapshot."""
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[1])
    return {
        "cpu_ns": time.process_time_ns(),
        "resident_bytes": pages * os.sysconf("SC_PAGESIZE"),
        "open_fds": len(os.listdir("/proc/self/fd")) - 1,  # the listing's own
        "threads": len(os.listdir("/proc/self/task")),
    }
