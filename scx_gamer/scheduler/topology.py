# SPDX-License-Identifier: GPL-2.0-only
"""CPUs, caches, SMT siblings and capacity, as the kernel shows them in sysfs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.system.errors import ScxGamerError

SYSFS = Path("/sys/devices/system")
_CAPACITY_FULL = 1024


class TopologyError(ScxGamerError):
    """sysfs does not say which CPUs there are."""


@dataclass(frozen=True)
class Cpu:
    """One possible CPU. An offline one has what sysfs still says, or a place of its own."""

    number: int
    online: bool
    llc: int  # dense index, 0..nr_llcs-1
    siblings: tuple[int, ...]  # SMT, with itself
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
        return any(len(cpu.siblings) > 1 for cpu in self.cpus)

    def sibling(self, number: int) -> int:
        """The next SMT sibling, or the CPU itself."""
        siblings = self.cpus[number].siblings
        return siblings[(siblings.index(number) + 1) % len(siblings)]


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
    possible = _list(f"{root}/possible")
    if not possible:
        raise TopologyError(f"{root}/possible is missing or empty", hint="is /sys mounted?")
    online = set(_list(f"{root}/online") or possible)
    nodes = _nodes(f"{sysfs}/node")
    shares: dict[int, tuple[int, ...]] = {}
    siblings: dict[int, tuple[int, ...]] = {}
    capacity: dict[int, int] = {}
    for number in range(possible[-1] + 1):
        cpu = f"{root}/cpu{number}"
        smt = _list(f"{cpu}/topology/thread_siblings_list")
        siblings[number] = smt if smt and number in smt else (number,)
        shared = _last_cache(cpu, number)
        if shared is None and number in online:
            # a guest without cache leaves: CPUs of one package share
            package = _list(f"{cpu}/topology/package_cpus_list")
            shared = package if package and number in package else None
        shares[number] = shared or (number,)
        capacity[number] = (
            _number(f"{cpu}/cpu_capacity") or _number(f"{cpu}/acpi_cppc/highest_perf") or 0
        )
    llcs: dict[int, int] = {}  # by the lowest CPU that shares
    llc_of: dict[int, int] = {}
    for number in range(possible[-1] + 1):
        key = min(shares[number])
        llc_of[number] = llcs.setdefault(key, len(llcs))
    fastest = max(capacity.values()) or 1
    cpus = tuple(
        Cpu(
            number=number,
            online=number in online,
            llc=llc_of[number],
            siblings=siblings[number],
            capacity=capacity[number] * _CAPACITY_FULL // fastest or _CAPACITY_FULL,
            node=nodes.get(number, 0),
        )
        for number in range(possible[-1] + 1)
    )
    return Topology(cpus, len(llcs))


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
