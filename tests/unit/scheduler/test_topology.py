# SPDX-License-Identifier: GPL-2.0-or-later
"""Topologies from sysfs trees as machines have them: siblings far apart, several caches, hybrid, up to 256 CPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.scheduler import topology
from scx_gamer.scheduler.topology import Cpu, Home, Topology, TopologyError, format_list


def with_some_gone(
    root: Path, possible: int, present: str, online: str, threads: int, per_cache: int
) -> Path:
    """A tree as Linux 6.12 keeps it: a CPU that is not present has no folder, one that is off no topology and no cache.

    Siblings are neighbours; lists name online CPUs alone.
    """
    base = root / "cpu"
    base.mkdir()
    for name, cpus in (("possible", f"0-{possible - 1}"), ("present", present), ("online", online)):
        (base / name).write_text(cpus + "\n")
    on = set(topology.parse_list(online))

    def those(number: int, size: int) -> str:
        first = number // size * size
        return ",".join(str(n) for n in range(first, first + size) if n in on)

    for number in topology.parse_list(present):
        cpu = base / f"cpu{number}"
        cpu.mkdir()
        if number not in on:
            continue
        (cpu / "topology").mkdir()
        (cpu / "topology/thread_siblings_list").write_text(those(number, threads))
        folder = cpu / "cache/index3"
        folder.mkdir(parents=True)
        (folder / "level").write_text("3")
        (folder / "type").write_text("Unified")
        (folder / "shared_cpu_list").write_text(those(number, per_cache))
    return root


@pytest.mark.parametrize(
    ("possible", "present", "online", "threads", "per_cache", "cpus", "llcs"),
    [
        (32, "0-23", "0-23", 2, 12, 24, 2),  # firmware that allows for more CPUs than are fitted
        (16, "0-15", ",".join(map(str, range(0, 16, 2))), 2, 16, 16, 1),  # SMT off
        (128, "0-3", "0-3", 1, 4, 4, 1),  # a guest that may grow
        (32, "0-23", "0-5,12-17", 2, 12, 24, 2),
        (8, "0-7", "4-7", 1, 4, 8, 1),  # the first cache is off
    ],
    ids=["absent", "smt off", "4 of 128", "half of each", "first off"],
)
def test_cpus_that_are_not_there_make_no_cache(
    tmp_path: Path, possible: int, present: str, online: str, threads: int, per_cache: int,
    cpus: int, llcs: int,
) -> None:  # fmt: skip
    found = topology.read(with_some_gone(tmp_path, possible, present, online, threads, per_cache))
    assert (found.nr_cpus, found.nr_llcs) == (cpus, llcs)
    on = [cpu for cpu in found.cpus if cpu.online]
    assert [cpu.number for cpu in on] == list(topology.parse_list(online))
    # The caches that CPUs are queued at are those that some CPU takes from.
    assert {cpu.llc for cpu in on} == set(range(llcs)) >= {cpu.llc for cpu in found.cpus}
    assert {(a.number // per_cache == b.number // per_cache) == (a.llc == b.llc)
            for a in on for b in on} == {True}  # fmt: skip
    assert all(found.cpus[found.sibling(cpu.number)].online for cpu in on)


def test_more_caches_than_the_scheduler_knows(tmp_path: Path) -> None:
    """128 cores, each with a second-level cache of its own and nothing above it."""
    found = topology.read(with_some_gone(tmp_path, 128, "0-127", "0-127", 1, 1))
    assert found.nr_llcs == 128 and found.with_llcs(128) is found
    few = found.with_llcs(64)
    assert few.nr_llcs == 64
    assert [cpu.llc for cpu in few.cpus] == [n // 2 for n in range(128)]


def machine(
    root: Path,
    cpus: int,
    sibling: dict[int, str],
    cache: dict[int, str],
    *,
    capacity: dict[int, int] | None = None,
    online: str = "",
    nodes: dict[int, str] | None = None,
) -> Path:
    """A sysfs tree with these lists, in the kernel's own words."""
    base = root / "cpu"
    base.mkdir()
    (base / "possible").write_text(f"0-{cpus - 1}\n")
    (base / "online").write_text((online or f"0-{cpus - 1}") + "\n")
    for number in range(cpus):
        cpu = base / f"cpu{number}"
        (cpu / "topology").mkdir(parents=True)
        (cpu / "topology/thread_siblings_list").write_text(sibling[number] + "\n")
        for index, (level, kind, shared) in enumerate(
            [
                ("1", "Data", sibling[number]),
                ("1", "Instruction", f"0-{cpus - 1}"),  # a trap: no data ever comes through it
                ("3", "Unified", cache[number]),
            ]
        ):
            folder = cpu / f"cache/index{index}"
            folder.mkdir(parents=True)
            (folder / "level").write_text(level)
            (folder / "type").write_text(kind)
            (folder / "shared_cpu_list").write_text(shared)
        if capacity:
            (cpu / "cpu_capacity").write_text(str(capacity[number]))
    for number, cpulist in (nodes or {}).items():
        folder = root / "node" / f"node{number}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cpulist)
    return root


def test_siblings_half_the_machine_apart(tmp_path: Path) -> None:
    """As most desktops number them: CPU 0 shares its core with CPU 8, not with CPU 1."""
    root = machine(
        tmp_path,
        16,
        {n: f"{n % 8},{n % 8 + 8}" for n in range(16)},
        dict.fromkeys(range(16), "0-15"),
    )
    found = topology.read(root)
    assert (found.nr_cpus, found.nr_llcs, found.smt) == (16, 1, True)
    assert [found.sibling(n) for n in (0, 7, 8, 15)] == [8, 15, 0, 7]


def test_neighbouring_siblings_and_two_caches(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        8,
        {n: f"{n & ~1}-{n | 1}" for n in range(8)},
        {n: "0-3" if n < 4 else "4-7" for n in range(8)},
    )
    found = topology.read(root)
    assert [found.sibling(n) for n in range(8)] == [1, 0, 3, 2, 5, 4, 7, 6]
    assert [cpu.llc for cpu in found.cpus] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_cores_of_four_threads_have_no_sibling(tmp_path: Path) -> None:
    """To keep one of three others free would leave two beside the game."""
    root = machine(
        tmp_path, 8, {n: f"{n & ~3}-{n | 3}" for n in range(8)}, dict.fromkeys(range(8), "0-7")
    )
    found = topology.read(root)
    assert [found.sibling(n) for n in range(8)] == list(range(8)) and not found.smt


def test_hybrid_cores_without_siblings(tmp_path: Path) -> None:
    """Fast cores with two threads, slow ones with one."""
    root = machine(
        tmp_path,
        6,
        {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3", 4: "4", 5: "5"},
        dict.fromkeys(range(6), "0-5"),
        capacity={0: 1024, 1: 1024, 2: 1024, 3: 1024, 4: 512, 5: 512},
    )
    found = topology.read(root)
    assert [found.sibling(n) for n in range(6)] == [1, 0, 3, 2, 4, 5]
    assert [cpu.rank for cpu in found.cpus] == [1024] * 4 + [512] * 2
    assert found.home == Home((0, 2, 1, 3), "fast cores by cpu_capacity")
    assert found.order() == [0, 2, 1, 3, 4, 5]


def test_two_hundred_and_fifty_six_cpus(tmp_path: Path) -> None:
    """Sixteen caches of sixteen, siblings 128 apart: nothing fits into 32 or 64 bits."""
    root = machine(
        tmp_path,
        256,
        {n: f"{n % 128},{n % 128 + 128}" for n in range(256)},
        {n: f"{n % 128 // 8 * 8}-{n % 128 // 8 * 8 + 7},{n % 128 // 8 * 8 + 128}-{n % 128 // 8 * 8 + 135}"
         for n in range(256)},
        nodes={0: "0-63,128-191", 1: "64-127,192-255"},
    )  # fmt: skip
    found = topology.read(root)
    assert (found.nr_cpus, found.nr_llcs) == (256, 16)
    assert found.sibling(255) == 127 and found.sibling(40) == 168
    assert found.cpus[255].llc == found.cpus[127].llc == 15
    assert {found.cpus[n].node for n in (63, 191)} == {0} and found.cpus[255].node == 1


def test_a_cpu_that_is_off_keeps_its_number(tmp_path: Path) -> None:
    root = machine(
        tmp_path, 4, {n: str(n) for n in range(4)}, dict.fromkeys(range(4), "0-3"), online="0,2-3"
    )
    found = topology.read(root)
    assert found.nr_cpus == 4 and [cpu.online for cpu in found.cpus] == [True, False, True, True]


def test_no_list_of_cpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="possible"):
        topology.read(tmp_path)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_any_list_is_read_or_refused(text: str) -> None:
    try:
        numbers = topology.parse_list(text)
    except ValueError:
        return
    assert list(numbers) == sorted(set(numbers)) and all(0 <= n < 65536 for n in numbers)


def of_cores(*cores: tuple[int, int, int]) -> Topology:
    """Cores of two threads, siblings next to each other: rank, cache in MB, and die of each."""
    cpus = [
        Cpu(2 * core + thread, True, die, (2 * core, 2 * core + 1), 0, rank, megabytes * 1024)
        for core, (rank, megabytes, die) in enumerate(cores)
        for thread in (0, 1)
    ]
    return Topology(tuple(cpus), len({cpu.llc for cpu in cpus}), "the_rank")


# As Linux shows them: ranks of amd_pstate, MB of L3.
CACHE_RANKED = [(236, 96, 0), (231, 96, 0), (201, 32, 1), (196, 32, 1)]
CLOCK_RANKED = [
    (201, 96, 0),
    (196, 96, 0),
    (236, 32, 1),
    (231, 32, 1),
]  # the firmware's usual choice
TWO_EQUAL_DIES = [(236, 32, 0), (231, 32, 0), (201, 32, 1), (196, 32, 1)]
ALL_LARGE = [(236, 96, 0), (231, 96, 0), (201, 96, 1), (196, 96, 1)]
LARGER_BUT_SMALL = [(200, 16, 0), (200, 16, 0), (200, 8, 1), (200, 8, 1)]
COMPACT_DIE = [(208, 16, 0), (203, 16, 0), (133, 8, 1), (133, 8, 1)]


@pytest.mark.parametrize(
    ("cores", "home", "why"),
    [
        (CACHE_RANKED, (0, 2, 1, 3), "the die with 96 MB of cache"),
        (CLOCK_RANKED, (0, 2, 1, 3), "the die with 96 MB of cache"),
        (TWO_EQUAL_DIES, (), "all CPUs are alike"),
        (ALL_LARGE, (), "all CPUs are alike"),
        (LARGER_BUT_SMALL, (), "all CPUs are alike"),
        (COMPACT_DIE, (0, 2, 1, 3), "fast cores by the_rank"),
        ([(0, 0, 0)] * 4, (), "all CPUs are alike"),
    ],
)
def test_home(cores: list[tuple[int, int, int]], home: tuple[int, ...], why: str) -> None:
    assert of_cores(*cores).home == Home(home, why)


def test_of_equal_threads_the_higher_ranked_core_comes_first() -> None:
    assert of_cores((231, 32, 0), (236, 32, 0), (120, 32, 0)).home.cpus == (2, 0, 3, 1)


def test_a_rank_that_one_cpu_lacks_does_not_count(tmp_path: Path) -> None:
    root = machine(
        tmp_path, 2, {n: str(n) for n in range(2)}, dict.fromkeys(range(2), "0-1"),
        capacity={0: 1024, 1: 512},
    )  # fmt: skip
    (root / "cpu/cpu0/acpi_cppc").mkdir()
    (root / "cpu/cpu0/acpi_cppc/highest_perf").write_text("9")
    (root / "cpu/cpu1/cache/index2/size").write_text("98304K\n")
    found = topology.read(root)
    assert (found.ranked_by, found.home.cpus) == ("cpu_capacity", (0,))
    assert [cpu.cache_kb for cpu in found.cpus] == [0, 98304]


@given(st.sets(st.integers(0, 200)))
def test_a_list_is_written_as_it_is_read(numbers: set[int]) -> None:
    assert topology.parse_list(format_list(numbers)) == tuple(sorted(numbers))
