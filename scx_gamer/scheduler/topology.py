# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs, caches, SMT siblings and capacity, as the kernel shows them in sysfs.

Only CPUs that are online make a cache. sysfs keeps no cache or core of the others: counted as caches of their own, the
eight absent ones of 32 possible CPUs made ten caches of two, and so did each CPU that SMT control had switched off.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from scx_gamer.system.errors import ScxGamerError

SYSFS = Path("/sys/devices/system")
_CAPACITY_FULL = 1024


class TopologyError(ScxGamerError):
    """sysfs does not say which CPUs there are."""


@dataclass(frozen=True)
class Cpu:
    """One CPU number up to the highest present one."""

    number: int
    online: bool
    llc: int  # dense index, 0..nr_llcs-1; 0 for a CPU that is not online: it runs nothing
    siblings: tuple[int, ...]  # SMT, those online, with itself
    capacity: int  # 1024 is the fastest
    node: int


@dataclass(frozen=True)
class Topology:
    cpus: tuple[Cpu, ...]  # index is the CPU's number, without holes
    nr_llcs: int

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
        return Topology(cpus, limit)


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


def _last_cache(cpu: str, number: int) -> tuple[int, ...] | None:
    """The CPUs that share the outermost data or unified cache."""
    best: tuple[int, tuple[int, ...]] | None = None
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
            best = (level, shared)
    return best[1] if best else None


def read(sysfs: Path = SYSFS) -> Topology:
    """The topology below `sysfs`; raises TopologyError only if the list of CPUs is unreadable."""
    root = f"{sysfs}/cpu"
    present = _list(f"{root}/present") or _list(f"{root}/possible")
    if not present:
        raise TopologyError(f"{root}/present and possible are missing or empty")
    online = set(_list(f"{root}/online") or present)
    nodes = _nodes(f"{sysfs}/node")
    llcs: dict[int, int] = {}  # by the lowest online CPU that shares
    cpus: list[Cpu] = []
    for number in range(present[-1] + 1):
        cpu = f"{root}/cpu{number}"
        llc = 0
        if number in online:
            key = min(online.intersection(_shares(cpu, number)))
            llc = llcs.setdefault(key, len(llcs))
        smt = _list(f"{cpu}/topology/thread_siblings_list")
        if smt is None or number not in smt:
            smt = (number,)
        cpus.append(
            Cpu(
                number=number,
                online=number in online,
                llc=llc,
                siblings=tuple(n for n in smt if n in online or n == number),
                capacity=_number(f"{cpu}/cpu_capacity")
                or _number(f"{cpu}/acpi_cppc/highest_perf")
                or 0,
                node=nodes.get(number, 0),
            )
        )
    fastest = max(cpu.capacity for cpu in cpus) or 1
    scaled = (
        replace(cpu, capacity=cpu.capacity * _CAPACITY_FULL // fastest or _CAPACITY_FULL)
        for cpu in cpus
    )
    return Topology(tuple(scaled), len(llcs))


def _shares(cpu: str, number: int) -> tuple[int, ...]:
    """The CPUs with the same last-level cache, with itself."""
    shared = _last_cache(cpu, number)
    if shared is None:
        # A guest without cache leaves: CPUs of one package share.
        package = _list(f"{cpu}/topology/package_cpus_list")
        shared = package if package and number in package else None
    return shared or (number,)


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
