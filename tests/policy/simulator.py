# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the simulator; as a program draws docs/simulator.svg: `python -m tests.policy.simulator SIMULATE OUTPUT`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figures:
    """The figures that the simulator prints.

    `looks` and `steps` are for each decision, `migrations` and `wait_ms` for each run.
    """

    decisions: int
    worst_ms: float
    bound_ms: float
    broken: int
    looks: float
    steps: float
    migrations: float
    wait_ms: float


def simulate(simulator: Path, *arguments: int | str) -> Figures:
    """Raises AssertionError when a task waited longer than the bound."""
    words = [str(simulator), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(words[1:])}: {done.stdout}{done.stderr}"
    said = done.stdout.split()
    values = dict(zip(said[::2], said[1::2], strict=True))
    found = Figures(
        decisions=int(values["decisions"]), broken=int(values["broken"]),
        **{name: float(values[name])
           for name in ("worst_ms", "bound_ms", "looks", "steps", "migrations", "wait_ms")},
    )  # fmt: skip
    assert found.decisions > 0
    return found


CPUS = ((4, 1), (8, 1), (16, 2), (32, 4), (64, 8), (128, 8), (256, 16))
TASKS = (10, 30, 100, 300, 1000, 3000, 10_000)
MACHINES = {"plain": "#2f6fde", "smt": "#d9822b", "biglittle": "#2e9e6b"}


def draw(simulator: Path, output: Path) -> None:
    """Cost, wait and migrations, by CPUs (eight tasks for each) and by tasks (on sixteen CPUs)."""
    import_module("matplotlib").use("Agg")
    plt: Any = import_module("matplotlib.pyplot")
    plt.rcParams["svg.hashsalt"] = "scx_gamer"
    plt.rcParams["svg.fonttype"] = "none"
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
    for machine, colour in MACHINES.items():
        rows = (
            ("CPUs", [c for c, _ in CPUS],
             [simulate(simulator, 5, c, caches, 8 * c, 2000, machine) for c, caches in CPUS]),
            ("tasks", list(TASKS),
             [simulate(simulator, 5, 16, 2, tasks, 8000, machine) for tasks in TASKS]),
        )  # fmt: skip
        for line, (name, at, found) in zip(axes, rows, strict=True):
            shown = (
                ("looks a decision", [f.looks for f in found]),
                ("longest wait, share of the bound", [f.worst_ms / f.bound_ms for f in found]),
                ("share of runs that moved to another CPU", [f.migrations for f in found]),
            )
            for ax, (what, values) in zip(line, shown, strict=True):
                ax.plot(at, values, "o-", color=colour, label=machine, ms=4)
                ax.set_xscale("log")
                ax.set_xticks(at, [f"{n // 1000}k" if n >= 1000 else str(n) for n in at])
                ax.minorticks_off()
                ax.set_xlabel(name)
                ax.set_ylabel(what)
                ax.spines[["top", "right"]].set_visible(False)
                ax.set_ylim(0, 1 if what != shown[0][0] else 1.2 * max(ax.get_ylim()[1], *values))
    axes[0][0].legend(frameon=False)
    figure.savefig(output, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
