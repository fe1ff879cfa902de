# SPDX-License-Identifier: GPL-2.0-only
"""Memory by cycle: resident size, slabs, what meminfo knows, and how steeply each rises."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import median

PROC = Path("/proc")
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


def sample(proc: Path = PROC) -> dict[str, float]:
    """One look, in kB: `resident`, `slab` and the names of MEMINFO. What cannot be read is left out."""
    found: dict[str, float] = {}
    try:
        found["resident"] = resident_kb((proc / "self/status").read_text("utf-8", "replace"))
        found.update(meminfo((proc / "meminfo").read_text("utf-8", "replace")))
        caches = slabinfo((proc / "slabinfo").read_text("utf-8", "replace"))
        found["slab"] = sum(caches.values()) / 1024
    except OSError:  # slabinfo is root's, and not in every kernel
        pass
    return found


def slope(values: Sequence[float]) -> float:
    """Rise a step: the median over all pairs, which one jump does not move. 0 with fewer than two values."""
    rises = [(values[b] - values[a]) / (b - a) for a, b in combinations(range(len(values)), 2)]
    return float(median(rises)) if rises else 0.0
