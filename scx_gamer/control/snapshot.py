# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of the answers `status` and `snapshot`: the one place of their keys, for the daemon and for every reader.

The answers are JSON objects, and most readers are other processes, perhaps of another version. Hence TypedDicts: mypy
checks each key and value of the daemon and of the readers, and nothing is converted. Import this module for types only.
A key at the top may be absent; keys may be added, and none changes its meaning (docs/profiles.md, docs/metrics.md).
"""

from __future__ import annotations

from typing import TypedDict

Values = dict[str, list[int]]  # fields of a BPF struct; a number is a list of one


class ComparisonFacts(TypedDict):
    """A comparison that runs on a game."""

    pid: int
    side: str  # of the scheduler: with, without
    trial: dict[str, int]  # tunables that `tune` tries out now
    pair: int  # of blocks, from 1; 0 before the first
    since_s: float


class KernelFacts(TypedDict):
    release: str
    sched_ext: str  # as /sys/kernel/sched_ext/state
    loaded: str  # name of the loaded scheduler


class LastExit(TypedDict):
    kind: int
    name: str
    code: int
    generation: int
    reason: str
    message: str


class SchedulerFacts(TypedDict):
    """The maps of the attached scheduler."""

    generation: int
    ticks: int
    timer_failed: int
    effects: int
    effects_off: int
    nr_queued: int
    oldest_wait_ns: int
    oldest_wait_max_ns: int
    tasks: dict[str, int]  # by class


class InputFacts(TypedDict, total=False):
    """Lanes and held keys only where input is on."""

    path: str
    devices: int
    lanes: dict[str, int]
    held: int
    why: str


class GameFacts(TypedDict):
    pid: int
    comm: str
    reason: str
    processes: int
    rule: str
    name: str
    app_id: str
    main_pid: int
    since_s: float
    active: bool


class DetectionFacts(TypedDict):
    source: str
    why: str
    filter: str
    filter_why: str
    names: int
    desktop_games: int
    processes_known: int
    classes: dict[str, int]
    by_rule: dict[str, int]
    hints: dict[str, int]
    focus_pid: int
    focus_why: str  # why the agent does not know the focus, or knows it in part
    reconciles: int
    losses: int
    data_error: str
    entries_refused: int  # desktop entries that were not read: no plain file, too large, too many
    games_refused: dict[str, int]  # by reason
    threads: str
    threads_why: str
    threads_resting: bool
    thread_roles: dict[str, int]


class ProfileFacts(TypedDict):
    active: str
    chosen: str
    why: str
    settings: dict[str, object]
    errors: list[str]
    disabled: dict[str, str]  # name -> reason
    changes: int
    reloads: dict[str, int]
    tunables: dict[str, int]  # as the kernel has them
    watch: str


class NetworkFacts(TypedDict):
    available: bool
    why: str
    wishes: list[dict[str, object]]
    limits: list[dict[str, object]]
    orphans: int


class NetworkCounters(TypedDict):
    limits: int
    orphans: int
    orphaned: int
    refusals: int
    leftovers: int
    traffic: dict[str, int]  # by "lane.counter"


class BusFacts(TypedDict):
    connected: bool
    calls: dict[str, int]
    holds: list[dict[str, str]]
    over_budget: int  # calls refused unread


class PowerFacts(TypedDict):
    """The hold on the power profile: empty for none."""

    wanted: str
    held: str
    why: str  # it is not held though it is wanted
    on_battery: bool | None  # None: unknown, or no setting asks
    source_why: str  # it is unknown though a setting asks


class ResourceFacts(TypedDict):
    """Properties of systemd's units that are held for a game."""

    memory_low_mb: int  # as it is wanted now; 0: none
    held: list[dict[str, object]]  # unit, property, value, before
    why: str  # not all that is wanted is held


class FeedFacts(TypedDict):
    """The control ring."""

    sent: dict[str, int]
    dropped: dict[str, int]
    ring_full: int
    waiting: int
    drains: int


class GpuFacts(TypedDict):
    """Work of the GPU for the game in the last ten seconds; 0 where none was seen."""

    why: str  # it is unknown; empty while it is measured
    busy: float  # share of the time in which it had a job of the game
    jobs: int  # done


class SourceFacts(TypedDict):
    """Frames of the active game since it began, and of the last ten seconds; 0 where none was seen."""

    source: str  # empty: none
    tells: str
    cannot_tell: str
    why: dict[str, str]  # source -> why it is not used
    count: int
    missed: int
    target_ms: float
    fps: float
    low1_fps: float
    low01_fps: float
    p99_ms: float
    longest_ms: float
    recent_fps: float
    recent_p99_ms: float


class FrameFacts(SourceFacts):
    """Frames of the active game, and the work of the GPU for games."""

    gpu: GpuFacts


class FrameBuckets(TypedDict):
    """Frames by the source that tells, and the sum of their times in ns."""

    source: str
    at_most: dict[str, int]  # by the upper bound in seconds
    count: int
    sum_ns: int


class LoopFacts(TypedDict):
    passes: int
    lag_last_ms: float
    lag_max_ms: float
    pass_max_ms: float


class Attempts(TypedDict):
    attaches: dict[str, int]
    exits: dict[str, int]
    restarts: int


class EventFacts(TypedDict):
    by_type: dict[str, int]
    stale: int
    unknown: int
    handler_failures: int


class PlacementFacts(TypedDict):
    """Placement of the games' threads since the supervisor's start."""

    home: str  # CPUs, as sysfs writes them; empty where all are alike or nothing is attached
    why: str
    home_s: float  # CPU time of the game at home, all of it where there is no home
    away_s: float
    moves: int  # threads that were moved home while they ran
    shield_s: float  # time for which the other half of a core was kept free
    shield_kicks: int


class SessionFacts(TypedDict):
    """Records of sessions by this supervisor."""

    keep: bool
    running: int
    recorded: int
    refused: int  # games that were not recorded, because too many ran
    write_errors: int
    write_max_ms: float
    error: str  # of the last write; empty if it worked


class StatusBody(TypedDict, total=False):
    """`status --json`, and status.json in the runtime directory."""

    schema: int
    version: str
    pid: int
    uptime_s: float
    mode: str
    generation: int
    state: str
    cause: str
    since_s: float
    retry_in_s: float | None
    failures: int
    last_exit: LastExit | None
    scheduler: SchedulerFacts | None
    kernel: KernelFacts
    unclean_ends: int
    state_write_errors: int
    sleeps: int
    games: list[GameFacts]
    hooks: dict[str, str]  # "ok", or why the hook is unavailable
    feed: FeedFacts
    profile: ProfileFacts
    input: InputFacts
    session_hints: dict[str, int]
    detection: DetectionFacts
    network: NetworkFacts
    frames: FrameFacts  # absent without a game
    placement: PlacementFacts
    sessions: SessionFacts
    loop: LoopFacts
    power: PowerFacts  # absent while the bus is off
    resources: ResourceFacts  # absent while [resources] asks for nothing
    bus: BusFacts  # absent while the bus is off
    comparison: ComparisonFacts | None


class SnapshotBody(StatusBody, total=False):
    """`snapshot`: the status and everything else that the metrics show."""

    counters: Attempts
    cpu_stats: Values
    recent_maxima: Values  # nanoseconds, of the last minute
    programs: Values  # nanoseconds and runs
    control: Values
    windows: dict[str, Values]  # by lane
    events: EventFacts
    frame_buckets: FrameBuckets  # absent while no source tells of frames
    input_counters: dict[str, int]  # absent while input is off
    network_counters: NetworkCounters
    process: dict[str, int]
    kernel_events: dict[str, int]
    enable_seq: int | None
    nr_rejected: int | None
