# SPDX-License-Identifier: GPL-2.0-or-later
"""In a guest: measure the machine that it runs on against its file, print the figures, fail where they differ.

python -m tests.vm.lockstep.rates NAME

A loop of Python stands for a thread that only computes: in lockstep its time is its instructions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from scx_gamer.scheduler import topology
from tests.processes import running
from tests.vm.vmlib.machines import SYSFS_CPU, Cpu, Machine, Move, find

_LONG = 100_000  # rounds of a measured speed, some milliseconds
_SPEED_ERROR = 0.01
_MOVE_ERROR = 0.1
_MOVE_ERROR_US = 3  # interrupts pass at the end of turns, so the kernel's part of two moves differs
_TRIPS = 9


def spin(rounds: int) -> float:
    """Return the microseconds that a loop takes."""
    began = time.monotonic_ns()
    for _ in range(rounds):
        pass
    return (time.monotonic_ns() - began) / 1e3


@contextmanager
def busy(cpu: Cpu) -> Iterator[None]:
    """Keep a CPU busy."""
    with running(
        [sys.executable, "-S", "-c", f"import os; os.sched_setaffinity(0, {{{cpu.number}}})\n"
         "os.write(1, b'.')\nwhile True: pass"], stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.read(1)
        yield


def on(cpu: Cpu, rounds: int) -> float:
    """Return the microseconds that the way to a CPU and a loop there take."""
    began = time.monotonic_ns()
    os.sched_setaffinity(0, {cpu.number})
    for _ in range(rounds):
        pass
    return (time.monotonic_ns() - began) / 1e3


def settled(cpu: Cpu) -> float:
    """Return the microseconds of a long loop on a CPU, after one in which the move there is paid."""
    on(cpu, _LONG // 10)
    return spin(_LONG)


class Comparison:
    """Figures with what the file says, and those that are too far off."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self.wrong: list[str] = []

    def add(self, name: str, seen: float, wanted: float, error: float) -> None:
        self.figures[name] = round(seen, 4)
        if abs(seen - wanted) > error:
            self.wrong.append(f"{name}: measured {seen:.4f}, the file says {wanted:g}")

    def same(self, name: str, seen: object, wanted: object) -> None:
        if seen != wanted:
            self.wrong.append(f"{name}: the guest has {seen}, the file says {wanted}")


def speeds(machine: Machine, online: list[Cpu], result: Comparison) -> None:
    """Each CPU alone, beside its sibling, and beside another core, in the time of the fastest."""
    fastest = max(online, key=lambda cpu: cpu.speed)
    whole = settled(fastest) * fastest.speed
    for cpu in online:
        result.add(f"speed of {cpu.number}", whole / settled(cpu), cpu.speed, _SPEED_ERROR)
    sibling = next((c for c in online if c.core == fastest.core and c != fastest), None)
    stranger = next(c for c in online if c.core != fastest.core)
    for name, other, wanted in (("sibling", sibling, machine.sibling), ("core", stranger, 1.0)):
        if other is not None:
            with busy(other):
                seen = whole / settled(fastest) / fastest.speed
            result.add(f"beside a busy {name}", seen, wanted, _SPEED_ERROR)


def moves(machine: Machine, online: list[Cpu], result: Comparison) -> None:
    """The first loop on another core and another die, and the way back before its data is gone."""
    here = online[0]
    core = next(c for c in online if c.core != here.core and c.die == here.die)
    die = next((c for c in online if c.die != here.die), None)
    kernel: float | None = None
    for name, there, move in (("core", core, machine.to_core), ("die", die, machine.to_die)):
        if there is None:
            continue
        # It pays at half its rate, and has to be back before its data is gone.
        rounds = int((20 + 3 * move.lost_us) / settled(here) * _LONG)
        trips = [_trip(machine, here, there, rounds) for _ in range(_TRIPS)]
        if kernel is None:
            kernel = _kernel(here, there, rounds)
        away, back = (median(times) - kernel for times in zip(*trips, strict=True))
        # Back from a die in time for the die's cache, and too late for the core's.
        returned = machine.to_core if there is die else Move()
        _expect(result, f"first time on another {name}, us", away, move)
        _expect(result, f"back from another {name}, us", back, returned)


def _trip(machine: Machine, here: Cpu, there: Cpu, rounds: int) -> tuple[float, float]:
    """Return what the first move to a CPU and the one back take, in microseconds."""
    # Until no core and no die has data of ours, as far as the file says.
    time.sleep(2 * max(machine.to_core.keep_us, machine.to_die.keep_us) / 1e6)
    on(here, rounds)
    stay = on(here, rounds)
    away = on(there, rounds), on(there, rounds)
    return away[0] - away[1], on(here, rounds) - stay


def _kernel(here: Cpu, there: Cpu, rounds: int) -> float:
    """Return what the kernel takes for a move between cores that both have the thread's data, in microseconds."""
    times = [on(cpu, rounds) for cpu in (there, here) * _TRIPS]
    return median(times[_TRIPS:]) - median(on(here, rounds) for _ in range(_TRIPS))


def _expect(result: Comparison, name: str, seen_us: float, move: Move) -> None:
    result.add(name, seen_us, move.lost_us, _MOVE_ERROR_US + _MOVE_ERROR * move.lost_us)


def shape(machine: Machine, online: list[Cpu], result: Comparison) -> None:
    """The CPUs, siblings and caches that the kernel shows, and the files that are laid over."""
    seen = topology.read()
    numbers = [cpu.number for cpu in machine.cpus]
    result.same("present", list(topology.parse_list(_text("present"))), numbers)
    result.same("possible", list(topology.parse_list(_text("possible"))), numbers)
    result.same("online", [c.number for c in seen.cpus if c.online], [c.number for c in online])
    for cpu in online:
        mine = tuple(c.number for c in online if c.core == cpu.core)
        result.same(f"siblings of {cpu.number}", seen.cpus[cpu.number].siblings, mine)
        result.same(f"cache of {cpu.number}", seen.cpus[cpu.number].llc, cpu.die)
    for cpu in machine.cpus:
        for name, value in cpu.sysfs.items():
            path = f"cpu{cpu.number}/{name}"
            result.same(path, _text(path), str(value))


def _text(name: str) -> str:
    return Path(SYSFS_CPU, name).read_text().strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("machine")
    machine = find(parser.parse_args().machine)
    online = [cpu for cpu in machine.cpus if not machine.smt_off or cpu.thread == 0]
    result = Comparison()
    shape(machine, online, result)
    speeds(machine, online, result)
    moves(machine, online, result)
    print(json.dumps(result.figures, indent=1))
    for text in result.wrong:
        print(f"{machine.name}: {text}", file=sys.stderr)
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
