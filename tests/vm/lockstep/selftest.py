# SPDX-License-Identifier: GPL-2.0-or-later
"""`make bench-selftest`: the same cells measured in two boots agree within one percent on every reported figure.

With --machine NAME or --machine all: two boots of a machine have the rates of its file, and equal ones.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from scx_gamer.bench.cells import Cell
from tests.vm.lockstep.matrix import cell_of
from tests.vm.vmlib import machines

TREE = Path(__file__).resolve().parents[3]
TOLERANCE = 0.01
CELLS = ["--loads", "none,hogs-2", "--schedulers", "default,scx_gamer"]


def figures(cell: Cell) -> dict[str, float]:
    """Every number that a cell reports, by its name in bench.json."""
    return dict(_numbers("", asdict(cell)))


def _numbers(name: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(f"{name} {key}".strip(), inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def differences(one: Cell, two: Cell) -> list[tuple[str, float, float, float]]:
    """Name, both values, and their relative difference. A number that only one has differs wholly."""
    mine, other = figures(one), figures(two)
    found = []
    for name in sorted(mine.keys() | other.keys()):
        a, b = mine.get(name, math.nan), other.get(name, math.nan)
        off = abs(a - b) / (max(abs(a), abs(b)) or 1)
        found.append((name, a, b, 1.0 if math.isnan(off) else off))
    return found


def cells_agree() -> bool:
    """Measure CELLS in two boots and print every difference."""
    boots: list[list[Cell]] = []
    with tempfile.TemporaryDirectory(prefix="bench-selftest-") as folder:
        # The same folder: its name is part of what the guest is told, and so of the run.
        output = Path(folder, "bench.json")
        for _boot in range(2):
            command = [
                sys.executable, "-m", "tests.vm.lockstep.bench", *CELLS, "--seconds", "3",
                "--output", str(output),
            ]  # fmt: skip
            if subprocess.run(command, cwd=TREE, check=False).returncode:
                return False
            boots.append([cell_of(c) for c in json.loads(output.read_text())])
    worst = 0.0
    for one, two in zip(*boots, strict=True):
        for name, a, b, off in differences(one, two):
            worst = max(worst, off)
            verdict = "" if off <= TOLERANCE else "  APART"
            print(
                f"{one.load:<8} {one.scheduler:<10} {name:<28} {a:12.3f} {b:12.3f} {off:7.2%}{verdict}"
            )
    print(f"largest difference {worst:.2%}, allowed {TOLERANCE:.0%}")
    return worst <= TOLERANCE


def rates_agree(machine: str) -> bool:
    """Measure a machine's rates in two boots, and print those of the first."""
    boots = []
    base = TREE / "build/vm"
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="machine-", dir=base) as folder:
        scratch = Path(folder, "guest")  # the same, as in cells_agree
        for boot in range(2):
            shutil.rmtree(scratch, ignore_errors=True)
            command = [
                str(TREE / "tests/vm/run"), "--lockstep", "--machine", machine, "--scratch", str(scratch), "--",
                machines.find(machine).python, "-m", "tests.vm.lockstep.rates", machine,
            ]  # fmt: skip
            done = subprocess.run(command, cwd=TREE, check=False, stdout=subprocess.PIPE, text=True)
            boots.append(done.stdout)
            if boot == 0:
                print(f"{machine}: {boots[0]}", flush=True)
            if done.returncode:
                return False
    if boots[0] != boots[1]:
        print(f"{machine}: the second boot differs: {boots[1]}", file=sys.stderr)
    return boots[0] == boots[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make bench-selftest", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--machine", choices=[*machines.names(), "all"])
    asked = parser.parse_args().machine
    if asked is None:
        return 0 if cells_agree() else 1
    chosen = machines.names() if asked == "all" else [asked]
    wrong = [name for name in chosen if not rates_agree(name)]
    print(f"{len(chosen) - len(wrong)} of {len(chosen)} machines are as their files say")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
