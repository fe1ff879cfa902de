# SPDX-License-Identifier: GPL-2.0-only
"""No task waits longer than policy.h promises, over random task sets."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest


def _run(simulator: Path, seed: int, cpus: int, caches: int, tasks: int, ms: int) -> str:
    words = [str(simulator), *map(str, (seed, cpus, caches, tasks, ms))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{' '.join(words[1:])}: {done.stdout}{done.stderr}"
    assert int(done.stdout.split()[1]) > 0
    return done.stdout


def test_random_task_sets_keep_the_bound(simulator: Path) -> None:
    draw = random.Random(1)
    for seed in range(300):
        cpus = draw.choice([1, 2, 4, 8, 16])
        _run(simulator, seed, cpus, draw.randint(1, min(cpus, 4)), draw.randint(1, 24 * cpus), 3000)


@pytest.mark.parametrize(
    ("cpus", "caches", "tasks"), [(4, 1, 10_000), (64, 8, 5_000), (256, 16, 10_000), (256, 1, 10)]
)
def test_large_machines_keep_the_bound(simulator: Path, cpus: int, caches: int, tasks: int) -> None:
    _run(simulator, 5, cpus, caches, tasks, 2000)
