# SPDX-License-Identifier: GPL-2.0-only
"""`make bench-selftest`: the same cells measured in two boots agree within one percent on every reported figure."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from scx_gamer.bench.cells import Cell

TREE = Path(__file__).resolve().parents[3]
TOLERANCE = 0.01
CELLS = ["--loads", "none,hogs-2", "--schedulers", "default,scx_gamer"]


def figures(cell: Cell) -> dict[str, float]:
    """What must repeat, by name. Extremes (max, p99.9, longest wait) are one sample each and are not promised."""
    return {
        "on_time_ratio": cell.on_time_ratio,
        "frame p50": cell.frame_latency_us.p50,
        "frame p99": cell.frame_latency_us.p99,
        "input p50": cell.input_latency_us.p50,
        "input p99": cell.input_latency_us.p99,
        "low1_fps": cell.low1_fps,
        "background_work": cell.background_work,
    }


def differences(one: Cell, two: Cell) -> list[tuple[str, float, float, float]]:
    """Name, both values, and their relative difference."""
    mine, other = figures(one), figures(two)
    return [
        (name, value, other[name], abs(value - other[name]) / (max(value, other[name]) or 1))
        for name, value in mine.items()
    ]


def main() -> int:
    boots: list[list[Cell]] = []
    with tempfile.TemporaryDirectory(prefix="bench-selftest-") as folder:
        for boot in ("one", "two"):
            output = Path(folder, boot, "bench.json")
            command = [
                sys.executable, "-m", "tests.vm.lockstep.bench", *CELLS, "--seconds", "3",
                "--output", str(output),
            ]  # fmt: skip
            if subprocess.run(command, cwd=TREE, check=False).returncode:
                return 1
            boots.append([Cell.of_json(c) for c in json.loads(output.read_text())])
    worst = 0.0
    for one, two in zip(*boots, strict=True):
        for name, a, b, off in differences(one, two):
            worst = max(worst, off)
            verdict = "" if off <= TOLERANCE else "  APART"
            print(
                f"{one.load:<8} {one.scheduler:<10} {name:<16} {a:12.3f} {b:12.3f} {off:7.2%}{verdict}"
            )
    print(f"largest difference {worst:.2%}, allowed {TOLERANCE:.0%}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
