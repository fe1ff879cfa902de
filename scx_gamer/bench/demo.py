# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m scx_gamer.bench.demo`: the supervisor at work, and a game's frames without and with it.

A virtual mouse moves, CPU hogs run, a game-like load is started with `scx-gamer exec`. One line a
second shows the scheduler's state and the frames; then a table compares. Leaves nothing behind.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scx_gamer.bench.cells import Cell, Spec, median_cell, run_once
from scx_gamer.bench.session import (
    CLI,
    OURS,
    Session,
    kernel_has_sched_ext,
    loaded_scheduler,
    need_root,
    query,
)
from scx_gamer.bench.workload import BenchError, calibrate, start_mouse
from scx_gamer.system.exit_codes import INTERRUPTED

DEFAULT = "default"
_EMULATED_PERIOD_US = 66667  # 15 fps: what emulated CPUs, a quarter of a host's each, can deliver


@dataclass(frozen=True)
class Plan:
    pairs: int
    spec: Spec
    mouse_hz: int
    emulated: bool


def in_virtual_time() -> bool:
    """Each CPU of this guest executes one instruction a nanosecond, whatever the machine below it does."""
    return "SCX_GAMER_LOCKSTEP" in os.environ


def is_emulated() -> bool:
    """Without hardware virtualization, QEMU's own CPU, in this machine's time."""
    if in_virtual_time():
        return False
    cpuinfo = Path("/proc/cpuinfo").read_text()
    return "QEMU Virtual CPU" in cpuinfo or "QEMU TCG" in cpuinfo


def make_plan(pairs: int, seconds: float, per_cpu: float) -> Plan:
    emulated = is_emulated()
    # Nothing else takes time from these CPUs, and each of their seconds is four to ten of the reader's.
    brief = in_virtual_time()
    spec = Spec(
        shape="few",
        load="hogs",
        per_cpu=per_cpu,
        seconds=seconds,
        calibration=calibrate(0.1 if brief else 1.0, busy=True),
        period_us=_EMULATED_PERIOD_US if emulated else 0,
        input_hz=100 if emulated else 1000,
        settle_ms=300 if brief else Spec.settle_ms,
        warmup_ms=1000 if emulated else 300 if brief else 500,
    )
    return Plan(pairs, spec, mouse_hz=100 if emulated else 1000, emulated=emulated)


def open_lanes(windows: dict[str, dict[str, list[int]]], now_ns: int) -> list[str]:
    """Names of the input lanes whose boost window is open."""
    return [
        name
        for name, lane in windows.items()
        if max(*lane.get("until_ns", [0]), *lane.get("held_until_ns", [0])) > now_ns
    ]


def describe(snapshot: dict[str, Any], now_ns: int) -> str:
    """State, game and open input lanes."""
    games = snapshot.get("games") or []
    lanes = open_lanes(snapshot.get("windows") or {}, now_ns)
    game = f"game {games[0].get('pid', '?')}" if games else "no game"
    return f"{snapshot.get('state', '?'):<8} {game:<10} input {'+'.join(lanes) or 'closed':<8}"


def show_line(scheduler: str, line: dict[str, Any]) -> None:
    asked_ns = time.monotonic_ns()  # before: an answer among hogs takes longer than a window lasts
    print(
        f"  {scheduler:<9} | {describe(query('snapshot'), asked_ns)} |"
        f" {line['fps']:5.1f} fps, {line['on_time']:3d} of {line['due']:3d} frames on time,"
        f" frame p99 {line['frame_p99_us'] / 1000:7.2f} ms",
        flush=True,
    )


def run_phase(plan: Plan, session: Session, *, ours: bool) -> Cell:
    name = OURS if ours else DEFAULT
    query("start" if ours else "stop")
    if not ours:
        session.wait_scheduler("")

    def on_line(line: dict[str, Any]) -> None:
        show_line(loaded_scheduler() or DEFAULT, line)

    return run_once(plan.spec, name, marked=True, game_prefix=[*CLI, "exec", "--"], on_line=on_line)


def table(cells: list[Cell]) -> str:
    """The comparison, one row a figure."""
    off = median_cell([c for c in cells if c.scheduler == DEFAULT])
    ours = median_cell([c for c in cells if c.scheduler == OURS])
    rows = [
        ("frames on time", f"{off.on_time_ratio:.1%}", f"{ours.on_time_ratio:.1%}"),
        (
            "frame p99, ms",
            f"{off.frame_latency_us.p99 / 1000:.2f}",
            f"{ours.frame_latency_us.p99 / 1000:.2f}",
        ),
        ("1 % low, fps", f"{off.low1_fps:.1f}", f"{ours.low1_fps:.1f}"),
        ("input p99, us", f"{off.input_latency_us.p99:.0f}", f"{ours.input_latency_us.p99:.0f}"),
        ("hogs' work per s", f"{off.background_work:.0f}", f"{ours.background_work:.0f}"),
    ]
    head = f"{'':<18}{'without':>12}{'with scx_gamer':>16}"
    lines = [f"{name:<18}{a:>12}{b:>16}" for name, a, b in rows]
    return "\n".join([head, *lines, f"(medians of {off.runs} and {ours.runs} runs, interleaved)"])


def demo(plan: Plan) -> None:
    cpus = os.cpu_count() or 1
    print(
        f"A game-like load, a mouse at {plan.mouse_hz} Hz and {plan.spec.per_cpu:g} CPU hogs for"
        f" each of {cpus} CPUs; {plan.pairs} pairs of {plan.spec.seconds:g} s."
    )
    if plan.emulated:
        print(
            "This machine is emulated: only the order and the ratio of the figures mean anything."
        )
    if in_virtual_time():
        print("Seconds pass slower here than on your clock: each CPU keeps a time of its own.")
    cells: list[Cell] = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scx-gamer-demo-")))
        session = stack.enter_context(Session(log=scratch / "supervisor.log"))
        stack.enter_context(start_mouse(plan.mouse_hz))
        for pair in range(plan.pairs):
            # a pair begins as the one before it ended: an attach less, and what warms up favours neither
            for ours in (False, True) if pair % 2 == 0 else (True, False):
                print(
                    f"pair {pair + 1} of {plan.pairs},", "with:" if ours else "without:", flush=True
                )
                cells.append(run_phase(plan, session, ours=ours))
    print()
    print(table(cells))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scx_gamer.bench.demo", description=__doc__)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--hogs", type=float, default=2.0, help="CPU hogs per CPU")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        need_root()
        if not kernel_has_sched_ext():
            raise BenchError("this kernel has no sched_ext", hint="'make run' uses a VM then")
        demo(make_plan(args.pairs, args.seconds, args.hogs))
    except BenchError as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
