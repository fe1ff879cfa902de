# SPDX-License-Identifier: GPL-2.0-or-later
"""No task waits longer than policy.h promises, and a decision costs the same on large machines as on small ones."""

from __future__ import annotations

import os
import statistics
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.policy.simulator import Figures, simulate

SETS = 10_000


def _sets(simulator: Path, first: int, count: int) -> Figures:
    return simulate(simulator, "sets", first, count)


def test_ten_thousand_random_task_sets_keep_the_bound(simulator: Path) -> None:
    share = 500
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        done = list(pool.map(lambda n: _sets(simulator, n, share), range(0, SETS, share)))
    assert len(done) * share == SETS
    assert sum(f.decisions for f in done) > 100 * SETS
    # A simulator in which nobody waits would show nothing.
    assert max(f.worst_ms / f.bound_ms for f in done) > 0.3


@pytest.mark.parametrize("number", [910, 2564, 6638])
def test_hogs_restricted_to_a_few_cpus_delay_no_task_of_the_others(
    simulator: Path, number: int
) -> None:
    """Sets in which comparing with heads that may not run here breaks the bound."""
    _sets(simulator, number, 1)


@pytest.mark.parametrize("number", [9, 3425])
def test_a_cpu_kept_free_for_the_game_takes_who_waited_long_enough(
    simulator: Path, number: int
) -> None:
    """Sets in which a shield that lets nobody pass, or whose queue no tick looks after, breaks the bound."""
    _sets(simulator, number, 1)


@pytest.mark.parametrize("number", [2, 22])
def test_weights_keep_the_bound(simulator: Path, number: int) -> None:
    """Sets in which a task that goes on whatever waits, or owes more than its bound allows, breaks the bound."""
    _sets(simulator, number, 1)


@pytest.mark.parametrize("machine", ["plain", "smt", "biglittle"])
@pytest.mark.parametrize(
    ("cpus", "caches", "tasks"),
    [(4, 1, 10_000), (16, 2, 400), (64, 8, 5_000), (256, 16, 10_000), (256, 1, 10)],
)
def test_large_machines_keep_the_bound(
    simulator: Path, cpus: int, caches: int, tasks: int, machine: str
) -> None:
    simulate(simulator, 5, cpus, caches, tasks, 2000, machine)


def test_a_decision_costs_the_same_with_more_cpus(simulator: Path) -> None:
    """Looks at queues and at running tasks, for each time that a task is queued or a CPU picks one."""

    def looks(cpus: int, caches: int, tasks: int) -> float:
        # Thirty-two tasks are a handful of each kind: what one set of them asks for says little.
        sets = [simulate(simulator, seed, cpus, caches, tasks, 2000) for seed in range(1, 9)]
        return statistics.mean(f.looks for f in sets)

    small = looks(4, 1, 32)
    assert looks(256, 1, 2048) < 1.3 * small
    assert looks(256, 16, 2048) < 2.5 * small  # fifteen other caches, looked at once in 1 ms


def test_a_decision_costs_the_same_with_more_tasks(simulator: Path) -> None:
    by_tasks = [simulate(simulator, 5, 4, 1, tasks, 8000) for tasks in (10, 100, 1000, 10_000)]
    assert max(f.looks for f in by_tasks) < 2 * by_tasks[0].looks
    # The queue is a tree of the kernel's: its steps grow with the logarithm.
    assert all(f.steps < 14 for f in by_tasks)


def test_a_machine_that_is_none_is_one_line(simulator: Path) -> None:
    words = [str(simulator), "1", "2", "1", "4", "100", "steam"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "simulate: no machine is called 'steam': plain, smt or biglittle\n"
