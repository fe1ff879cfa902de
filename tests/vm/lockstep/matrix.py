# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m tests.vm.lockstep.matrix`: loads x shapes x schedulers, interleaved, into bench.json.

Meant for the lockstep VM, where one percent is a difference; runs on any machine with sched_ext.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scx_gamer.bench.cells import LOADS, SHAPES, Cell, Quantiles, Spec, median_cell, run_once
from scx_gamer.bench.session import (
    CLI,
    OURS,
    Session,
    Stage,
    kernel_has_sched_ext,
    need_root,
    query,
    wait_kernel,
)
from scx_gamer.bench.workload import BenchError, calibrate, start_mouse
from scx_gamer.libbpf import BpfError, Object, find_object
from scx_gamer.system.exit_codes import INTERRUPTED

_CGROUP = Path("/sys/fs/cgroup")
_MAP_TYPE_STRUCT_OPS = 26  # include/uapi/linux/bpf.h


@dataclass(frozen=True)
class Contender:
    """A way to schedule the game: the prefix of its command, and the scheduler that is attached.

    `scheduler` is empty for the kernel's own, OURS for the supervisor's, else the path of an object file.
    `scopes`: the game and the load are in cgroups of their own with equal weights, as in a desktop's session.
    """

    name: str
    prefix: tuple[str, ...] = ()
    scheduler: str = ""
    marked: bool = False
    scopes: bool = False


CONTENDERS = {
    c.name: c
    for c in (
        Contender("default"),
        Contender("scopes", scopes=True),
        Contender("nice", ("nice", "-n", "-10")),
        Contender("rr", ("chrt", "-r", "10")),
        Contender("baseline", (), "baseline"),
        Contender(OURS, (*CLI, "exec", "--"), OURS, marked=True),
        Contender("unmarked", (), OURS),
    )
}


def show(cell: Cell) -> str:
    wait = "-" if cell.oldest_waiter_ms is None else f"{cell.oldest_waiter_ms:.1f}"
    away = "-" if cell.away_ratio is None else f"{cell.away_ratio:.1%}"
    return (
        f"{cell.load:<10} {cell.shape:<9} {cell.scheduler:<10} {cell.on_time_ratio:7.1%}"
        f" {cell.frame_latency_us.p99 / 1000:8.2f} {cell.low1_fps:7.1f}"
        f" {cell.input_latency_us.p99:8.0f} {cell.background_work:10.0f} {wait:>8}"
        f" {cell.audio_underruns:5d} {away:>6}"
    )


HEAD = (
    f"{'load':<10} {'shape':<9} {'scheduler':<10} {'on time':>7} {'p99 ms':>8} {'1% low':>7}"
    f" {'in p99us':>8} {'bg/s':>10} {'wait ms':>8} {'under':>5} {'away':>6}"
)


class Attached:
    """A sched_ext object file, attached from construction to close(). Raises BenchError."""

    def __init__(self, path: Path) -> None:
        with ExitStack() as stack:
            try:
                obj = stack.enter_context(Object.open(path))
                ops = [m for m in obj.maps.values() if m.type == _MAP_TYPE_STRUCT_OPS]
                if len(ops) != 1:
                    raise BenchError(
                        f"{path} has {len(ops)} struct_ops maps", hint="exactly one is needed"
                    )
                obj.load()
                stack.enter_context(ops[0].attach_struct_ops())
            except BpfError as e:
                raise BenchError(str(e), errno=e.errno) from e
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Detach and unload; idempotent."""
        self._stack.close()


class ObjectStage(Stage):
    """A stage on which object files can be attached too."""

    def __init__(self, *, attached: bool) -> None:
        super().__init__(attached=attached)
        self._attached: Attached | None = None

    def _attach(self, scheduler: str) -> None:
        if scheduler == OURS:
            super()._attach(scheduler)
        else:
            path = Path(scheduler) if "/" in scheduler else find_object(scheduler)
            self._attached = Attached(path)
            wait_kernel(None)

    def _detach(self) -> None:
        attached, self._attached = self._attached, None
        if attached is not None:
            attached.close()
        else:
            super()._detach()


@contextmanager
def scope(name: str) -> Iterator[tuple[str, ...]]:
    """A cgroup with the cpu controller; yields the prefix of a command that runs in it. Raises BenchError."""
    path = _CGROUP / f"scx-gamer-bench-{name}.scope"
    try:
        if "cpu" not in (_CGROUP / "cgroup.controllers").read_text().split():
            raise BenchError(f"{_CGROUP} has no cpu controller", hint="boot with cgroup v2")
        (_CGROUP / "cgroup.subtree_control").write_text("+cpu")
        path.mkdir()
    except OSError as e:
        raise BenchError(f"{path} could not be made: {e.strerror}", errno=e.errno or 0) from e
    try:
        yield "sh", "-c", f'echo $$ >{path}/cgroup.procs && exec "$0" "$@"'
    finally:
        path.rmdir()


def run_matrix(
    loads: Sequence[str], shapes: Sequence[str], contenders: Sequence[Contender], *,
    pairs: int, seconds: float, calibration: float,
) -> Iterator[Cell]:  # fmt: skip
    """Each cell's median; runs of the contenders alternate, so that a drift hits all of them."""
    with ExitStack() as stack:
        ours = any(c.scheduler == OURS for c in contenders)
        session = stack.enter_context(Session(mode="always")) if ours else None
        if session is not None:
            session.wait_scheduler(OURS)
            stack.enter_context(start_mouse(1000))
        stage = ObjectStage(attached=session is not None)
        stack.callback(stage.close)
        for load in loads:
            kind, per_cpu = LOADS[load]
            for shape in shapes:
                seen: dict[str, list[Cell]] = {c.name: [] for c in contenders}
                for pair in range(pairs):
                    spec = Spec(shape, kind, per_cpu, seconds, calibration, seed=pair + 1)
                    for c in contenders:
                        stage.switch(c.scheduler)
                        cell = _run(spec, c)
                        seen[c.name].append(replace(cell, load=load))
                        if pair == pairs - 1:
                            yield median_cell(seen[c.name])


def _game_ns() -> tuple[int, int]:
    stats = query("snapshot")["cpu_stats"]
    return stats["game_home_ns"][0], stats["game_away_ns"][0]


def _run(spec: Spec, c: Contender) -> Cell:
    with ExitStack() as stack:
        game: Sequence[str] = ()
        load: Sequence[str] = ()
        if c.scopes:
            game, load = (stack.enter_context(scope(name)) for name in ("game", "load"))
        return run_once(
            spec, c.name, marked=c.marked, game_prefix=(*game, *c.prefix), load_prefix=load,
            game_ns=_game_ns if c.scheduler == OURS and c.marked else None,
        )  # fmt: skip


def write_json(path: Path, cells: Sequence[Cell]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps([c.json() for c in cells], indent=1) + "\n")
    os.replace(scratch, path)


def cell_of(values: dict[str, Any]) -> Cell:
    """Return the cell of its json(). Raises TypeError for unknown fields."""
    latencies = {key: Quantiles(**values[key]) for key in ("frame_latency_us", "input_latency_us")}
    return Cell(**{**values, **latencies})


def _names(text: str, known: Sequence[str], what: str) -> list[str]:
    names = [n.strip() for n in text.split(",") if n.strip()]
    for name in names:
        if name not in known:
            raise BenchError(f"unknown {what} {name!r}", hint=f"use one of {', '.join(known)}")
    if not names:
        raise BenchError(f"no {what} was given", hint=f"use one of {', '.join(known)}")
    return names


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm.lockstep.matrix", description=__doc__)
    parser.add_argument("--loads", default="none,hogs-2,pipes")
    parser.add_argument("--shapes", default="few")
    parser.add_argument("--schedulers", default="default,scx_gamer")
    parser.add_argument(
        "--object", type=Path, action="append", default=[], help="another sched_ext object file"
    )
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--calibration", type=float, help="loops per us; measured by default")
    parser.add_argument("--output", type=Path, default=Path("build/bench/bench.json"))
    args = parser.parse_args(argv)
    cells: list[Cell] = []
    try:
        loads = _names(args.loads, list(LOADS), "load")
        shapes = _names(args.shapes, SHAPES, "shape")
        contenders = [CONTENDERS[n] for n in _names(args.schedulers, list(CONTENDERS), "scheduler")]
        for path in args.object:
            if not path.is_file():
                raise BenchError(f"{path} does not exist", hint="give a .bpf.o file")
            contenders.append(Contender(path.name.split(".")[0], (), str(path.resolve())))
        if any(c.scheduler or c.scopes for c in contenders):
            need_root()
        if any(c.scheduler for c in contenders) and not kernel_has_sched_ext():
            raise BenchError("this kernel has no sched_ext", hint="use tests/vm/run")
        rate = args.calibration or calibrate()
        print(HEAD, flush=True)
        for cell in run_matrix(
            loads, shapes, contenders, pairs=args.pairs, seconds=args.seconds, calibration=rate
        ):
            cells.append(cell)
            print(show(cell), flush=True)
            write_json(args.output, cells)
    except BenchError as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
