# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs, caches, SMT siblings and ranks, as the kernel shows them in sysfs, and the game's home among the CPUs.

Only CPUs that are online make a cache. sysfs keeps no cache or core of the others: counted as caches of their own, the
eight absent ones of 32 possible CPUs made ten caches of two, and so did each CPU that SMT control had switched off.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from scx_gamer.system.errors import ScxGamerError

SYSFS = Path("/sys/devices/system")
# A CPU's speed, by the first of these that every CPU has. Firmware ranks cores of one kind a few percent apart.
_RANKS = (
    "cpufreq/amd_pstate_prefcore_ranking",
    "acpi_cppc/highest_perf",
    "cpu_capacity",
    "cpufreq/cpuinfo_max_freq",
)
# A rank this far below the next higher one is another kind of core. Cores of one kind are 0.98 apart (CachyOS-Settings
# issue 86). Slow cores of hybrid processors have 0.55 of the fast ones' rank (hybrid12.toml of the tests) and 0.78 of
# their clock (Intel's data sheet of the Core i9-13900K: 4.3 and 5.5 GHz).
_SLOWER = 0.8
# Games gain by a cache of this size: dies with stacked cache have 96 MB, others 32 (AMD's product pages).
_LARGE_CACHE_KB = 64 * 1024


class TopologyError(ScxGamerError):
    """sysfs does not say which CPUs there are."""


@dataclass(frozen=True)
class Cpu:
    """One CPU number up to the highest present one."""

    number: int
    online: bool
    llc: int  # dense index, 0..nr_llcs-1; 0 for a CPU that is not online: it runs nothing
    siblings: tuple[int, ...]  # SMT, those online, with itself
    node: int
    rank: int = 0  # higher is faster; 0 where the kernel does not tell
    cache_kb: int = 0  # size of the last-level cache; 0 where it is unknown


@dataclass(frozen=True)
class Home:
    """CPUs in the order in which a game's threads take them, none where all are alike; why these."""

    cpus: tuple[int, ...]
    why: str


@dataclass(frozen=True)
class Topology:
    cpus: tuple[Cpu, ...]  # index is the CPU's number, without holes
    nr_llcs: int
    ranked_by: str = ""  # the fact behind `rank`

    @property
    def nr_cpus(self) -> int:
        return len(self.cpus)

    @property
    def smt(self) -> bool:
        return any(self.sibling(cpu.number) != cpu.number for cpu in self.cpus)

    def sibling(self, number: int) -> int:
        """The other thread of a core that has two, else the CPU itself."""
        siblings = self.cpus[number].siblings
        return sum(siblings) - number if len(siblings) == 2 else number

    def with_llcs(self, limit: int) -> Topology:
        """The same with at most `limit` caches: neighbours share one where the machine has more."""
        if self.nr_llcs <= limit:
            return self
        cpus = tuple(replace(cpu, llc=cpu.llc * limit // self.nr_llcs) for cpu in self.cpus)
        return replace(self, cpus=cpus, nr_llcs=limit)

    def order(self) -> list[int]:
        """All CPUs, the home first."""
        home = self.home.cpus
        return [*home, *(cpu.number for cpu in self.cpus if cpu.number not in home)]

    @cached_property
    def home(self) -> Home:
        """The CPUs that a game is best on: fast ones, and of these the ones with the large cache.

        A rank says little about caches: firmware ranks the die without the large one higher, for its clock.
        """
        online = [cpu for cpu in self.cpus if cpu.online]
        fast = _fast(online)
        cached = [cpu for cpu in fast if cpu.cache_kb >= _LARGE_CACHE_KB]
        chosen = cached if cached and len(cached) < len(fast) else fast
        if len(chosen) == len(online):
            return Home((), "all CPUs are alike")
        reasons = []
        if len(fast) < len(online):
            reasons.append(f"fast cores by {self.ranked_by}")
        if chosen is cached:
            reasons.append(f"the die with {cached[0].cache_kb // 1024} MB of cache")
        chosen.sort(key=lambda cpu: (cpu.siblings.index(cpu.number), -cpu.rank, cpu.number))
        return Home(tuple(cpu.number for cpu in chosen), ", ".join(reasons))


def parse_list(text: str) -> tuple[int, ...]:
    """`0-3,8,10-11` of sysfs; raises ValueError."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        if not part:
            continue
        first, dash, last = part.partition("-")
        low, high = int(first), int(last if dash else first)
        if low < 0 or high < low or high > 65535:
            raise ValueError(f"bad range {part!r}")
        numbers.update(range(low, high + 1))
    return tuple(sorted(numbers))


def format_list(numbers: Iterable[int]) -> str:
    """The numbers as sysfs writes them: `0-3,8`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ",".join("-".join(map(str, span)) for span in spans)


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


def _list(path: str) -> tuple[int, ...] | None:
    try:
        return parse_list(_text(path))
    except (OSError, ValueError):
        return None


def _number(path: str) -> int | None:
    try:
        return int(_text(path))
    except (OSError, ValueError):
        return None


def _last_cache(cpu: str, number: int) -> tuple[tuple[int, ...], int] | None:
    """The CPUs that share the outermost data or unified cache, and its size in KB."""
    best: tuple[int, tuple[int, ...], str] | None = None
    try:
        indexes = sorted(name for name in os.listdir(f"{cpu}/cache") if name[:5] == "index")
    except OSError:
        return None
    for name in indexes:
        index = f"{cpu}/cache/{name}"
        level, shared = _number(f"{index}/level"), _list(f"{index}/shared_cpu_list")
        try:
            kind = _text(f"{index}/type").strip()
        except OSError:
            kind = "Unified"
        if level is None or not shared or number not in shared or kind == "Instruction":
            continue
        if best is None or level > best[0]:
            best = (level, shared, f"{index}/size")
    return (best[1], _kilobytes(best[2])) if best else None


def _kilobytes(path: str) -> int:
    """`98304K` of sysfs; 0 where it is unreadable."""
    try:
        return int(_text(path).strip().removesuffix("K"))
    except (OSError, ValueError):
        return 0


def _ranks(root: str, numbers: Collection[int]) -> tuple[dict[int, int], str]:
    """Speed of each CPU in a unit of its own, and the name of the fact; empty where no fact covers all."""
    for name in _RANKS:
        found = {
            n: rank for n in numbers if (rank := _number(f"{root}/cpu{n}/{name}")) and rank > 0
        }
        if len(found) == len(numbers):
            return found, name.rpartition("/")[2]
    return {}, ""


def _fast(cpus: list[Cpu]) -> list[Cpu]:
    """The CPUs above the first gap between kinds of cores."""
    ranks = sorted({cpu.rank for cpu in cpus}, reverse=True)
    gap = next((low for high, low in pairwise(ranks) if low < _SLOWER * high), -1)
    return [cpu for cpu in cpus if cpu.rank > gap]


def online(sysfs: Path = SYSFS) -> tuple[int, ...]:
    """The numbers of the CPUs that are online; empty where sysfs does not say."""
    return _list(f"{sysfs}/cpu/online") or ()


def read(sysfs: Path = SYSFS) -> Topology:
    """The topology below `sysfs`; raises TopologyError only if the list of CPUs is unreadable."""
    root = f"{sysfs}/cpu"
    present = _list(f"{root}/present") or _list(f"{root}/possible")
    if not present:
        raise TopologyError(f"{root}/present and possible are missing or empty")
    there = set(online(sysfs) or present)
    nodes = _nodes(f"{sysfs}/node")
    ranks, ranked_by = _ranks(root, there)
    llcs: dict[int, int] = {}  # by the lowest online CPU that shares
    cpus: list[Cpu] = []
    for number in range(present[-1] + 1):
        cpu = f"{root}/cpu{number}"
        llc = cache_kb = 0
        if number in there:
            shares, cache_kb = _shares(cpu, number)
            key = min(there.intersection(shares))
            llc = llcs.setdefault(key, len(llcs))
        smt = _list(f"{cpu}/topology/thread_siblings_list")
        if smt is None or number not in smt:
            smt = (number,)
        cpus.append(
            Cpu(
                number=number,
                online=number in there,
                llc=llc,
                siblings=tuple(n for n in smt if n in there or n == number),
                node=nodes.get(number, 0),
                rank=ranks.get(number, 0),
                cache_kb=cache_kb,
            )
        )
    return Topology(tuple(cpus), len(llcs), ranked_by)


def _shares(cpu: str, number: int) -> tuple[tuple[int, ...], int]:
    """The CPUs with the same last-level cache, with itself, and its size in KB."""
    if cache := _last_cache(cpu, number):
        return cache
    # A guest without cache leaves: CPUs of one package share.
    package = _list(f"{cpu}/topology/package_cpus_list")
    return (package if package and number in package else (number,)), 0


def _nodes(root: str) -> dict[int, int]:
    found: dict[int, int] = {}
    try:
        names = [name for name in os.listdir(root) if name[:4] == "node"]
    except OSError:
        return found
    for name in names:
        if name[4:].isdecimal():
            for number in _list(f"{root}/{name}/cpulist") or ():
                found[number] = int(name[4:])
    return found
