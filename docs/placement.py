#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Draw docs/placement.svg: docs/placement.py > docs/placement.svg. A test compares them.

Machines are those of tests/vm/lockstep/machines. The game's home on each is what the supervisor finds in a sysfs of it.
"""

from __future__ import annotations

import sys
from html import escape
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from scx_gamer.scheduler.topology import Topology, format_list, read
from tests.vm.vmlib.machines import Cpu, Machine, find, names

WIDTH, LEFT, TOP, PANEL, CELL = 800, 12, 84, 112, 34
HOME, AWAY, ALIKE, LINE = "#bfe3cb", "#e4e4e4", "#d6e4f5", "#555"
LEGEND = (
    (HOME, "home: the game first, in the order of the small numbers"),
    (AWAY, "everything else first, the game when home is full"),
    (ALIKE, "no home: all CPUs are alike"),
)


def topology(machine: Machine, root: Path) -> Topology:
    """What the supervisor reads on this machine: its files of sysfs, cores and dies."""
    online = [cpu for cpu in machine.cpus if not (machine.smt_off and cpu.thread)]
    files: dict[str, object] = {
        "present": f"0-{len(machine.cpus) - 1}",
        "online": format_list(cpu.number for cpu in online),
    }
    for cpu in online:
        core = format_list(other.number for other in online if other.core == cpu.core)
        files |= {
            f"cpu{cpu.number}/topology/thread_siblings_list": core,
            f"cpu{cpu.number}/cache/index3/level": 3,
            f"cpu{cpu.number}/cache/index3/shared_cpu_list": format_list(
                other.number for other in online if other.die == cpu.die
            ),
        }
        files |= {f"cpu{cpu.number}/{name}": value for name, value in cpu.sysfs.items()}
    for name, value in files.items():
        path = root / "cpu" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return read(root)


def cell(x: float, y: float, cpu: Cpu, found: Topology) -> str:
    home = found.home.cpus
    online = found.cpus[cpu.number].online
    color = "none" if not online else ALIKE if not home else HOME if cpu.number in home else AWAY
    order = (
        f'<text x="{x + CELL - 4}" y="{y + 30}" font-size="9" text-anchor="end">'
        f"{home.index(cpu.number) + 1}</text>"
        if cpu.number in home
        else ""
    )
    dash = "" if online else ' stroke-dasharray="3 3"'
    number = f'<text x="{x + 5}" y="{y + 16}">{cpu.number}</text>' if online else ""
    return (
        f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="{color}" stroke="{LINE}"{dash}/>'
        f"{number}{order}"
    )


def panel(machine: Machine, found: Topology, y: float) -> str:
    """One machine: a box around each die, cores apart, the threads of a core side by side."""
    parts = [
        f'<text x="{LEFT}" y="{y}"><tspan font-weight="bold">{machine.name}</tspan>: {escape(machine.about)}</text>'
    ]
    x = float(LEFT + 8)
    for _, die in groupby(machine.cpus, lambda cpu: cpu.die):
        begin = x - 8
        for (_, speed), core in groupby(die, lambda cpu: (cpu.core, cpu.speed)):
            first = x
            for cpu in core:
                parts.append(cell(x, y + 18, cpu, found))
                x += CELL
            parts.append(
                f'<text x="{(first + x) / 2}" y="{y + 66}" font-size="10" fill="#666"'
                f' text-anchor="middle">{speed:g}</text>'
            )
            x += 8
        parts.append(
            f'<rect x="{begin}" y="{y + 10}" width="{x - begin}" height="62" rx="4" fill="none" stroke="{LINE}"/>'
        )
        x += 18
    why = found.home.why + ("; whole cores before second threads" if found.smt else "")
    parts.append(f'<text x="{LEFT}" y="{y + 88}" fill="#666">{escape(why)}</text>')
    return "".join(parts)


def figure() -> str:
    parts = []
    for number, name in enumerate(names()):
        with TemporaryDirectory() as root:
            machine = find(name)
            parts.append(panel(machine, topology(machine, Path(root)), TOP + number * PANEL))
    height = TOP + len(names()) * PANEL
    legend = "".join(
        f'<rect x="{LEFT}" y="{10 + 18 * i}" width="12" height="12" fill="{color}" stroke="{LINE}"/>'
        f'<text x="{LEFT + 20}" y="{21 + 18 * i}">{text}</text>'
        for i, (color, text) in enumerate(LEGEND)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif"'
        f' font-size="13" fill="#333"><rect width="100%" height="100%" fill="#fff"/>'
        f'{legend}<text x="{WIDTH - LEFT}" y="21" text-anchor="end" fill="#666">below a core: its speed</text>'
        f"{''.join(parts)}</svg>\n"
    )


if __name__ == "__main__":
    sys.stdout.write(figure())
