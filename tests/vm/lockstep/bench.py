# SPDX-License-Identifier: GPL-2.0-or-later
"""`make bench`: the matrix of loads and shapes in lockstep virtual time, spread over several guests.

One guest for each part; what each has measured so far is merged into one bench.json, also after a Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from scx_gamer.bench.cells import LOADS, SHAPES, Cell
from tests.vm.lockstep.goals import checks
from tests.vm.lockstep.matrix import HEAD, cell_of, write_json
from tests.vm.vmlib import machines

TREE = Path(__file__).resolve().parents[3]
ALL_SCHEDULERS = "default,scopes,nice,rr,baseline,scx_gamer,unmarked"
# Loops per us at one instruction a nanosecond, by architecture: a loop is four of x86_64 and three of arm64. They are
# constants of the virtual machine, not of this one.
LOOPS_PER_US = {"": 250.0, "arm64": 333.3}


@dataclass(frozen=True)
class Part:
    """The cells of one guest: every load with every shape under every scheduler."""

    loads: str
    shapes: str
    cpus: int
    schedulers: str = ""  # empty: those asked for
    machine: str = ""  # empty: equal CPUs

    @property
    def name(self) -> str:
        where = self.machine or f"{self.cpus}cpu"
        return "-".join((*self.loads.split(","), *self.shapes.split(","), where))

    @property
    def guest(self) -> list[str]:
        """The options of tests/vm/run for its guest."""
        return ["--machine", self.machine] if self.machine else ["--cpus", str(self.cpus)]

    def cells(self, asked: str, objects: int) -> int:
        schedulers = len((self.schedulers or asked).split(",")) + objects
        return len(self.loads.split(",")) * len(self.shapes.split(",")) * schedulers


# Nobody plays: the shape that stands for a desktop at rest, and nothing is marked.
AT_REST = "default,baseline,unmarked"
# A boot takes as long as two cells, so a guest measures several loads; the longest begin first.
SHORT = (
    Part("none,hogs-2", "few,workers", 4),
    Part("compile,forkexec,hogs-8", "few", 4),
    Part("messaging,pipes", "few", 4),
    Part("browser,memory", "few", 4),
    Part("none,compile,messaging,pingpong", "desktop", 4, AT_REST),
)
LONG = tuple(
    Part(load, shape, cpus, AT_REST if shape == "desktop" else "")
    for cpus in (4, 2, 8, 16)
    for shape in SHAPES
    for load in LOADS
)


class Guests:
    """Runs parts, `jobs` at a time; leaving the `with` ends those under way."""

    def __init__(
        self, folder: Path, schedulers: str, arguments: list[str], jobs: int, timeout_s: float
    ) -> None:
        self._folder, self._schedulers, self._arguments = folder, schedulers, arguments
        self._jobs, self._timeout_s = jobs, timeout_s
        self._running: dict[subprocess.Popen[str], Part] = {}
        self.failed: list[str] = []

    def __enter__(self) -> Guests:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.send_signal(signal.SIGINT)  # tests/vm/run ends its guest and goes
        for process in self._running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    def _start(self, part: Part) -> subprocess.Popen[str]:
        machine = machines.find(part.machine or "flat4")
        scratch = self._folder / part.name
        scratch.mkdir(parents=True, exist_ok=True)
        (scratch / "bench.json").unlink(missing_ok=True)
        command = [
            str(TREE / "tests/vm/run"), "--lockstep", *part.guest,
            "--timeout", str(self._timeout_s), "--scratch", str(scratch), "--", "tests/vm/lockstep/warm",
            machine.python, "-m", "tests.vm.lockstep.matrix",
            "--calibration", str(LOOPS_PER_US[machine.architecture]), "--output", str(scratch / "bench.json"),
            "--loads", part.loads, "--shapes", part.shapes,
            "--schedulers", part.schedulers or self._schedulers, *self._arguments,
        ]  # fmt: skip
        with (scratch / "errors").open("w") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, process_group=0,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._running[process] = part
        return process

    def run(self, parts: list[Part], cells: int) -> None:
        """All parts; prints a row for each cell as it comes."""
        begun, done, waiting = time.monotonic(), 0, list(parts)
        print(f"{'done':>9} {'cpus':>4} {HEAD}", flush=True)
        with ExitStack() as stack:
            poll = stack.enter_context(selectors.DefaultSelector())
            while waiting or self._running:
                while waiting and len(self._running) < self._jobs:
                    process = self._start(waiting.pop(0))
                    assert process.stdout is not None
                    poll.register(process.stdout, selectors.EVENT_READ, process)
                for key, _events in poll.select(5):
                    process = key.data
                    line = process.stdout.readline() if process.stdout else ""
                    if not line:
                        poll.unregister(key.fileobj)
                        self._ended(process)
                    elif not line.startswith("load "):
                        done += 1
                        left = (time.monotonic() - begun) / done * (cells - done) / 60
                        part = self._running[process]
                        print(
                            f"{done:4d}/{cells:<4d} {part.cpus:4d} {line.rstrip()}  ({left:.0f} min left)",
                            flush=True,
                        )

    def _ended(self, process: subprocess.Popen[str]) -> None:
        part = self._running.pop(process)
        if process.stdout is not None:
            process.stdout.close()
        if status := process.wait():
            said = (self._folder / part.name / "errors").read_text().strip().splitlines()
            self.failed.append(
                f"{part.name}: status {status}: {said[-1] if said else 'it said nothing'}"
            )

    def merged(self, parts: list[Part]) -> list[Cell]:
        cells: list[Cell] = []
        for part in parts:
            path = self._folder / part.name / "bench.json"
            if path.exists():
                found = [cell_of(c) for c in json.loads(path.read_text())]
                cells += [replace(cell, machine=part.machine) for cell in found]
        order = list(LOADS)
        return sorted(
            cells,
            key=lambda c: (c.cpus, SHAPES.index(c.shape), order.index(c.load)),
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--long", action="store_true", help="every load, shape and 2, 4, 8, 16 CPUs"
    )
    parser.add_argument("--loads", default="", help="only these")
    parser.add_argument("--shapes", default="", help="only these")
    parser.add_argument("--cpus", type=int, default=0, help="only this many CPUs")
    parser.add_argument(
        "--machine", choices=machines.names(), help="a machine of tests/vm/lockstep/machines"
    )
    parser.add_argument("--schedulers", default=ALL_SCHEDULERS)
    parser.add_argument("--object", type=Path, action="append", default=[])
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="virtual, of each run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="guests at a time")
    parser.add_argument("--timeout", type=float, default=7200, help="seconds, of each guest")
    parser.add_argument("--output", type=Path, default=TREE / "build/bench/bench.json")
    parser.add_argument("--strict", action="store_true", help="fail when a promise is missed")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A choice that the plan has no part for is a part of its own.
    if args.loads or args.shapes:
        parts = [
            Part(load, args.shapes or "few", args.cpus or 4)
            for load in (args.loads or "none,hogs-2").split(",")
        ]
    else:
        parts = [p for p in (LONG if args.long else SHORT) if args.cpus in (0, p.cpus)]
    if args.machine:
        if args.cpus or args.long:
            parser.error("--machine has CPUs of its own: leave out --cpus and --long")
        machine = machines.find(args.machine)
        cpus = len(machine.cpus)
        parts = [replace(part, cpus=cpus, machine=machine.name) for part in parts]
    arguments = ["--pairs", str(args.pairs), "--seconds", str(args.seconds)]
    for path in args.object:
        arguments += ["--object", str(path.resolve())]
    total = sum(p.cells(args.schedulers, len(args.object)) for p in parts)
    status = 0
    folder = args.output.parent / "guests"
    with Guests(folder, args.schedulers, arguments, args.jobs, args.timeout) as guests:
        try:
            guests.run(parts, total)
        except KeyboardInterrupt:
            print("bench: stopped; what was measured is kept", file=sys.stderr)
            status = 130
    cells = guests.merged(parts)
    write_json(args.output, cells)
    found = list(checks(cells))
    for check in found:
        print(check)
    missed = sum(not c.ok for c in found)
    print(
        f"{len(cells)} cells in {args.output}; {len(found) - missed} of {len(found)} promises kept"
    )
    for text in guests.failed:
        print(f"bench: {text}", file=sys.stderr)
    return status or (1 if guests.failed or (args.strict and missed) else 0)


if __name__ == "__main__":
    sys.exit(main())
