# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory per cycle: resident size, slabs, figures of meminfo, and their slopes."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median

from scx_gamer.system import procfs
from scx_gamer.system.procfs import PROC

# Caches with one object a thread: threads are compared by identity instead.
_OF_THREADS = frozenset(
    {"task_struct", "cred_jar", "signal_cache", "sighand_cache", "pid", "vmap_area"}
)
# Figures in kB, which a leak in the kernel would raise.
MEMINFO = ("Slab", "SUnreclaim", "KernelStack", "VmallocUsed", "Percpu")


def slabinfo(text: str) -> dict[str, int]:
    """Return bytes in active objects by cache. Other lines are ignored."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or words[0].startswith(("#", "slabinfo")):
            continue
        if not (words[1].isdecimal() and words[3].isdecimal()):
            continue
        found[words[0]] = int(words[1][:18]) * int(words[3][:18])
    return found


def kilobytes(text: str, names: Collection[str]) -> dict[str, int]:
    """Return the named figures, in kB, of /proc/meminfo or /proc/PID/status."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()[:1]
        if name in names and value and value[0].isdecimal():
            found[name] = int(value[0][:18])
    return found


def workers(proc: Path = PROC) -> tuple[int, int]:
    """Return the number of kworker threads and of all threads. Worker pools shrink minutes after a load."""
    found = total = 0
    for pid in procfs.pids(proc):
        try:
            found += procfs.read(pid, "comm", proc).startswith(b"kworker/")
            total += len(os.listdir(f"{proc}/{pid}/task"))
        except OSError:
            continue
    return found, total


def sample(proc: Path = PROC) -> dict[str, float]:
    """Return `resident`, `slab` and the figures of MEMINFO in kB. Unreadable ones are left out.

    Stacks of kworkers are subtracted, because the number of kworkers follows the load of the machine.
    """
    found: dict[str, float] = {}
    try:
        status = kilobytes((proc / "self/status").read_text("utf-8", "replace"), ("VmRSS",))
        found["resident"] = status.get("VmRSS", 0)
        found.update(kilobytes((proc / "meminfo").read_text("utf-8", "replace"), MEMINFO))
        pool, threads = workers(proc)
        if "KernelStack" in found and threads:
            found["KernelStack"] -= pool * found["KernelStack"] / threads
        caches = slabinfo((proc / "slabinfo").read_text("utf-8", "replace"))
        found["slab"] = sum(size for name, size in caches.items() if name not in _OF_THREADS) / 1024
    except OSError:  # slabinfo needs root, and is not in every kernel
        pass
    return found


def slope(values: Sequence[float]) -> float:
    """Return the slope per step by Theil-Sen: the median over all pairs, robust to an outlier. 0 for one value."""
    rises = [(values[b] - values[a]) / (b - a) for a, b in combinations(range(len(values)), 2)]
    return float(median(rises)) if rises else 0.0
