# SPDX-License-Identifier: GPL-2.0-only
"""Topologies from sysfs trees as machines have them: siblings far apart, several caches, hybrid, up to 256 CPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.scheduler import topology
from scx_gamer.scheduler.topology import TopologyError


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
    capacities = [cpu.capacity for cpu in found.cpus]
    assert capacities[0] == 2 * capacities[4] == capacities[3]


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
