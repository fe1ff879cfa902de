# SPDX-License-Identifier: GPL-2.0-only
"""Memory by cycle: resident size, slabs, what meminfo knows, and how steeply each rises."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import median

PROC = Path("/proc")
# One object a thread: threads are looked at by themselves.
_OF_THREADS = frozenset(
    {"task_struct", "cred_jar", "signal_cache", "sighand_cache", "pid", "vmap_area"}
)
MEMINFO = ("Slab", "SUnreclaim", "KernelStack", "VmallocUsed", "Percpu")


def slabinfo(text: str) -> dict[str, int]:
    """Bytes in active objects by cache. Lines that are none of a cache are left out."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or words[0].startswith(("#", "slabinfo")):
            continue
        if not (words[1].isdecimal() and words[3].isdecimal()):
            continue
        found[words[0]] = int(words[1][:18]) * int(words[3][:18])
    return found


def meminfo(text: str) -> dict[str, int]:
    """Kilobytes by name, of those that a leak in the kernel would raise."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()[:1]
        if name in MEMINFO and value and value[0].isdecimal():
            found[name] = int(value[0][:18])
    return found


def resident_kb(text: str) -> int:
    """VmRSS of a /proc/PID/status; 0 when it has none."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()[:1]
        if name == "VmRSS" and value and value[0].isdecimal():
            return int(value[0][:18])
    return 0


def workers(proc: Path = PROC) -> tuple[int, int]:
    """Threads of the kernel's worker pools, and threads in all. The pools grow under load and shrink minutes later."""
    found = total = 0
    for name in os.listdir(proc):
        if name.isdecimal():
            try:
                found += (proc / name / "comm").read_bytes().startswith(b"kworker/")
                total += len(os.listdir(proc / name / "task"))
            except OSError:
                continue
    return found, total


def sample(proc: Path = PROC) -> dict[str, float]:
    """One look, in kB: `resident`, `slab` and the names of MEMINFO. What cannot be read is left out.

    What the worker pools hold is taken out: they breathe with any load, and what they hold is nobody's.
    """
    found: dict[str, float] = {}
    try:
        found["resident"] = resident_kb((proc / "self/status").read_text("utf-8", "replace"))
        found.update(meminfo((proc / "meminfo").read_text("utf-8", "replace")))
        pool, threads = workers(proc)
        if "KernelStack" in found and threads:
            found["KernelStack"] -= pool * found["KernelStack"] / threads
        caches = slabinfo((proc / "slabinfo").read_text("utf-8", "replace"))
        found["slab"] = sum(size for name, size in caches.items() if name not in _OF_THREADS) / 1024
    except OSError:  # slabinfo is root's, and not in every kernel
        pass
    return found


def slope(values: Sequence[float]) -> float:
    """Rise a step: the median over all pairs, which one jump does not move. 0 with fewer than two values."""
    rises = [(values[b] - values[a]) / (b - a) for a, b in combinations(range(len(values)), 2)]
    return float(median(rises)) if rises else 0.0
