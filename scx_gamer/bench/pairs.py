# SPDX-License-Identifier: GPL-2.0-or-later
"""`scx-gamer bench`: a game-like load, or a command, run alternately without and with the scheduler."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from scx_gamer.bench.cells import LOADS, Cell, Spec, run_once
from scx_gamer.bench.session import (
    CLI,
    OURS,
    Session,
    Stage,
    kernel_has_sched_ext,
    need_root,
    query,
)
from scx_gamer.bench.verdict import Verdict, judge
from scx_gamer.bench.workload import BenchError, calibrate, start_mouse
from scx_gamer.system.exit_codes import UNSUPPORTED


@dataclass(frozen=True)
class Plan:
    """Parameters of a measurement. `command` replaces the game-like load, and its run time is then the figure."""

    loads: tuple[str, ...] = ("none", "hogs-2", "compile")
    shape: str = "few"
    pairs: int = 5
    seconds: float = 10.0
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """All runs of a load, in pairs without and with."""

    load: str
    without: tuple[Cell, ...]
    with_: tuple[Cell, ...]

    def verdicts(self) -> list[Verdict]:
        def of(
            figure: str, unit: str, value: Callable[[Cell], float], *, larger_is_better: bool
        ) -> Verdict:
            return judge(
                self.load, figure, unit, [value(c) for c in self.without],
                [value(c) for c in self.with_], larger_is_better=larger_is_better,
            )  # fmt: skip

        found = [
            of("1 % low", "fps", lambda c: c.low1_fps, larger_is_better=True),
            of("frames on time", "%", lambda c: 100 * c.on_time_ratio, larger_is_better=True),
            of("frame p99", "ms", lambda c: c.frame_latency_us.p99 / 1e3, larger_is_better=False),
            of("input p99", "us", lambda c: c.input_latency_us.p99, larger_is_better=False),
        ]
        if all(c.background_work for c in self.without):
            found.append(
                of("background work", "per s", lambda c: c.background_work, larger_is_better=True)
            )
        return found

    def json(self) -> dict[str, Any]:
        return {
            "load": self.load,
            "without": [c.json() for c in self.without],
            "with": [c.json() for c in self.with_],
            "verdicts": [{**asdict(v), "verdict": v.word, "line": str(v)} for v in self.verdicts()],
        }


@contextmanager
def _stage() -> Iterator[Stage]:
    """Start a supervisor, or use the running one, and restore its state at the end. Raises BenchError."""
    need_root()
    if not kernel_has_sched_ext():
        raise BenchError(
            "this kernel has no sched_ext",
            hint="boot one of 6.12 or later that has it; in a checkout, `make bench` uses a virtual machine",
            code=UNSUPPORTED,
        )
    with ExitStack() as stack:
        try:
            before = query()
        except BenchError:
            before = None
        if before is None:
            session = stack.enter_context(Session(mode="always"))
            session.wait_scheduler(OURS)
        elif before["mode"] != "always":
            raise BenchError(
                "the running supervisor is in mode auto, which attaches for games only",
                hint="stop it for the benchmark (systemctl stop scx-gamer)",
            )
        else:
            stack.callback(query, "stop" if before["state"] == "off" else "start")
            query("start")
        stage = Stage(attached=True)
        stack.callback(stage.close)
        yield stage


def measure(plan: Plan, progress: Callable[[str], None]) -> list[Outcome]:
    """Measure the pairs of every load. `progress` is called with a line for each run. Raises BenchError."""
    for load in plan.loads:
        if load not in LOADS:
            raise BenchError(f"unknown load {load!r}", hint=f"use one of {', '.join(LOADS)}")
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        stage = stack.enter_context(_stage())
        rate = calibrate()
        stack.enter_context(start_mouse(1000))
        total, done, begun = len(plan.loads) * plan.pairs * 2, 0, time.monotonic()
        for load in plan.loads:
            kind, per_cpu = LOADS[load]
            sides: tuple[list[Cell], list[Cell]] = ([], [])
            for pair in range(plan.pairs):
                spec = Spec(plan.shape, kind, per_cpu, plan.seconds, rate, seed=pair + 1)
                for side in (0, 1):
                    stage.switch(OURS if side else "")
                    prefix = (*CLI, "exec", "--") if side else ()
                    name = OURS if side else "default"
                    cell = run_once(spec, name, marked=bool(side), game_prefix=prefix)
                    sides[side].append(cell)
                    done += 1
                    left = (time.monotonic() - begun) / done * (total - done)
                    progress(
                        f"[{done}/{total}, {left:.0f} s left] {load} {name}: 1 % low"
                        f" {cell.low1_fps:.1f} fps, frame p99 {cell.frame_latency_us.p99 / 1e3:.2f} ms,"
                        f" input p99 {cell.input_latency_us.p99:.0f} us"
                    )
            outcomes.append(Outcome(load, tuple(sides[0]), tuple(sides[1])))
    return outcomes


def measure_command(plan: Plan, progress: Callable[[str], None]) -> Verdict:
    """Measure the run time of the command. Raises BenchError if it fails."""
    sides: tuple[list[float], list[float]] = ([], [])
    with _stage() as stage:
        for pair in range(plan.pairs):
            for side in (0, 1):
                stage.switch(OURS if side else "")
                prefix: Sequence[str] = (*CLI, "exec", "--") if side else ()
                begun = time.monotonic()
                done = subprocess.run([*prefix, *plan.command], stdout=sys.stderr, check=False)
                took = time.monotonic() - begun
                if done.returncode:
                    raise BenchError(f"{plan.command[0]} failed with status {done.returncode}")
                sides[side].append(took)
                progress(
                    f"[pair {pair + 1} of {plan.pairs}] {'with' if side else 'without'}: {took:.2f} s"
                )
    return judge(
        " ".join(plan.command)[:60], "run time", "s", *sides, larger_is_better=False
    )  # fmt: skip
