# SPDX-License-Identifier: GPL-2.0-or-later
"""A measured run of a game beside a load, and the medians of several runs."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass, field
from statistics import median
from typing import Any

from scx_gamer.bench.workload import Workload

# Kind and tasks per CPU.
LOADS = {
    "none": ("none", 1.0),
    "hogs-0.5": ("hogs", 0.5),
    "hogs-1": ("hogs", 1.0),
    "hogs-2": ("hogs", 2.0),
    "hogs-8": ("hogs", 8.0),
    "compile": ("compile", 1.0),
    "forkexec": ("forkexec", 1.0),
    "messaging": ("messaging", 1.0),
    "pipes": ("pipes", 3.0),
    "pingpong": ("pipes", 0.01),  # one pair on any number of CPUs
    "memory": ("memory", 1.0),
    "pinned": ("pinned", 1.0),
    "browser": ("browser", 4.0),
}
SHAPES = ("few", "chain30", "workers", "cpubound", "unlocked", "fps240", "desktop")


@dataclass(frozen=True)
class Spec:
    """Parameters of a run: the game's shape, and the background load (`none` for no load)."""

    shape: str
    load: str
    per_cpu: float
    seconds: float
    calibration: float
    seed: int = 1
    period_us: int = 0
    input_hz: int = 1000
    settle_ms: int = 2000  # the game alone, until the supervisor has handled its start
    warmup_ms: int = 500  # the game beside the load, before the measurement

    def game_args(self) -> list[str | float]:
        args: list[str | float] = [
            "--shape", self.shape, "--seconds", self.seconds, "--seed", self.seed,
            "--calibration", self.calibration, "--warmup-ms", self.settle_ms + self.warmup_ms,
            "--hz", self.input_hz, "--live",
        ]  # fmt: skip
        return [*args, "--period-us", self.period_us] if self.period_us else args

    def load_args(self) -> list[str | float]:
        return [
            "--kind", self.load, "--per-cpu", self.per_cpu, "--seed", self.seed,
            "--seconds", 3600, "--calibration", self.calibration, "--live",
        ]  # fmt: skip


@dataclass(frozen=True)
class Quantiles:
    """Quantiles of a distribution, in microseconds."""

    p50: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, printed: dict[str, float]) -> "Quantiles":
        return cls(printed["p50"], printed["p99"], printed["p999"], printed["max"])

    @classmethod
    def median_of(cls, many: Sequence["Quantiles"]) -> "Quantiles":
        return cls(*map(median, zip(*map(astuple, many), strict=True)))


@dataclass(frozen=True)
class Cell:
    """The figures of a run. `oldest_waiter_ms` is None for loads that cannot tell waiting from sleeping."""

    load: str
    shape: str
    scheduler: str
    cpus: int
    marked: bool
    on_time_ratio: float
    frame_latency_us: Quantiles
    input_latency_us: Quantiles
    low1_fps: float
    background_work: float
    oldest_waiter_ms: float | None
    audio_underruns: int
    links_p99_us: dict[str, float] = field(default_factory=dict)  # wake-up to first run, by link
    runs: int = 1
    mean_fps: float = 0.0
    game_cpus: float = 0.0  # CPUs kept busy by the game and its compositor, which a load cannot use
    away_ratio: float | None = None  # of the game's CPU time beside its load: not on its home
    machine: str = ""  # of tests/vm/lockstep/machines; empty for equal CPUs

    def json(self) -> dict[str, Any]:
        return asdict(self)


def run_once(
    spec: Spec,
    scheduler: str,
    *,
    marked: bool,
    game_prefix: Sequence[str] = (),
    load_prefix: Sequence[str] = (),
    on_line: Callable[[dict[str, Any]], None] | None = None,
    game_ns: Callable[[], tuple[int, int]] | None = None,
) -> Cell:
    """Start the game, then the load, measure, and stop both. Raises BenchError.

    The load starts `settle_ms` after the game, so that neither the game's start nor the supervisor's reaction is
    measured, and runs as long as the game. The measurement begins `warmup_ms` after every task of the load has got to
    run. The load's work is given per second of its whole time. `game_ns` reads the CPU time of the game on its home and
    elsewhere.
    """
    with ExitStack() as stack:
        game = stack.enter_context(
            Workload("game", *spec.game_args(), "--on-signal", prefix=game_prefix)
        )
        game.wait_ready()
        time.sleep(spec.settle_ms / 1e3)
        begun = game_ns() if game_ns else (0, 0)
        load: Workload | None = None
        if spec.load != "none":
            load = stack.enter_context(Workload("load", *spec.load_args(), prefix=load_prefix))
            load.wait_ready()
            time.sleep(spec.warmup_ms / 1e3)
        game.measure()
        result = game.result(spec.seconds * 5 + 60, on_line or (lambda line: None))
        background: dict[str, Any] = {"work_per_s": 0.0, "longest_gap_ms": None}
        if load is not None:
            load.stop()
            background = load.result(60)
        home, away = (b - a for a, b in zip(begun, game_ns() if game_ns else (0, 0), strict=True))
    per_cpu = f"-{spec.per_cpu:g}" if spec.load != "none" else ""
    return Cell(
        load=f"{spec.load}{per_cpu}",
        shape=spec.shape,
        scheduler=scheduler,
        cpus=int(result["cpus"]),
        marked=marked,
        on_time_ratio=float(result["on_time_ratio"]),
        frame_latency_us=Quantiles.of(result["frame_latency_us"]),
        input_latency_us=Quantiles.of(result["input_latency_us"]),
        low1_fps=float(result["low1_fps"]),
        background_work=float(background["work_per_s"]),
        oldest_waiter_ms=background["longest_gap_ms"],
        audio_underruns=int(result["audio_underruns"]),
        mean_fps=float(result["mean_fps"]),
        game_cpus=float(result["cpus_busy"]),
        away_ratio=away / (home + away) if home + away > 0 else None,
        links_p99_us={
            name: float(waits["p99"]) for name, waits in result["wake_to_run_us"].items()
        },
    )


def median_cell(cells: Sequence[Cell]) -> Cell:
    """Return the medians of runs with the same parameters, but the longest wait of all. Raises ValueError."""
    first = cells[0]
    if any((c.load, c.shape, c.scheduler) != (first.load, first.shape, first.scheduler)
           for c in cells):  # fmt: skip
        raise ValueError("runs have different parameters")
    waits = [c.oldest_waiter_ms for c in cells if c.oldest_waiter_ms is not None]
    return Cell(
        load=first.load,
        shape=first.shape,
        scheduler=first.scheduler,
        cpus=first.cpus,
        marked=first.marked,
        on_time_ratio=median(c.on_time_ratio for c in cells),
        frame_latency_us=Quantiles.median_of([c.frame_latency_us for c in cells]),
        input_latency_us=Quantiles.median_of([c.input_latency_us for c in cells]),
        low1_fps=median(c.low1_fps for c in cells),
        background_work=median(c.background_work for c in cells),
        oldest_waiter_ms=max(waits) if waits else None,
        audio_underruns=sum(c.audio_underruns for c in cells),
        mean_fps=median(c.mean_fps for c in cells),
        game_cpus=median(c.game_cpus for c in cells),
        away_ratio=max((c.away_ratio for c in cells if c.away_ratio is not None), default=None),
        links_p99_us={
            name: median(c.links_p99_us.get(name, 0.0) for c in cells)
            for name in first.links_p99_us
        },
        runs=len(cells),
    )
