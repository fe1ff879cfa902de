# SPDX-License-Identifier: GPL-2.0-or-later
"""The machines of tests/vm/lockstep/machines: parse a file, and translate it for QEMU and for the guest."""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "lockstep" / "machines"
SYSFS_CPU = "/sys/devices/system/cpu"
_CPU_MODEL = "max-x86_64-cpu"
_PERMILLE = 1000
_MAX_CPUS = 64


class MachineError(Exception):
    """A machine file that does not exist or is invalid."""


@dataclass(frozen=True)
class Cpu:
    """A present CPU. `core` and `die` count from 0 across the machine; `speed` is a share of full speed.

    `slot` is QEMU's number, which counts absent threads and cores too; `number` is the guest's.
    """

    number: int
    slot: int
    core: int
    die: int
    thread: int
    speed: float
    sysfs: dict[str, str | int]


@dataclass(frozen=True)
class Move:
    """Time that a thread loses on a core or die where it has not run for `keep_us`."""

    lost_us: int = 0
    keep_us: int = 0


@dataclass(frozen=True)
class Machine:
    name: str
    about: str
    cpus: tuple[Cpu, ...]
    dies: int
    cores: int  # slots of a die
    threads: int  # slots of a core
    sibling: float = 1.0  # share of its speed that a CPU keeps beside a busy SMT sibling
    to_core: Move = field(default_factory=Move)
    to_die: Move = field(default_factory=Move)
    smt_off: bool = False  # at run time, before the command starts
    architecture: str = ""  # empty: this machine's; another's has `sysfs` by its device tree

    @property
    def python(self) -> str:
        """The interpreter in its guest."""
        return "/usr/bin/python3" if self.architecture else "build/venv/bin/python"

    def smp(self) -> str:
        """Return the value of QEMU's -smp: the CPUs before the first absent one.

        A die is a socket: Linux finds a cache for each of these in the leaves of the emulated processor.
        """
        slots = self.dies * self.cores * self.threads
        if slots == len(self.cpus) and self.threads == self.dies == 1:
            return str(slots)
        here = {cpu.slot for cpu in self.cpus}
        first = next((slot for slot in range(slots) if slot not in here), slots)
        return (
            f"{first},maxcpus={slots},sockets={self.dies},cores={self.cores},threads={self.threads}"
        )

    def qemu_options(self, common: str) -> str:
        """Return QEMU's options: the common ones, and CPUs after the first absent one."""
        options = [common]
        first = int(self.smp().partition(",")[0])
        for cpu in self.cpus:
            if cpu.slot >= first:
                core = cpu.slot // self.threads % self.cores
                options.append(
                    f"-device {_CPU_MODEL},socket-id={cpu.die},die-id=0,module-id=0,"
                    f"core-id={core},thread-id={cpu.thread}"
                )
        return " ".join(options)

    def kernel_options(self) -> list[str]:
        """Return the kernel's options: it has no CPU for an absent slot."""
        slots = self.dies * self.cores * self.threads
        return [f"nr_cpus={len(self.cpus)}"] if len(self.cpus) < slots else []

    def rates(self) -> str:
        """Return the value of QEMU_LOCKSTEP_MACHINE, which lockstep-machine.c of the patched QEMU parses."""
        present = {cpu.slot: cpu for cpu in self.cpus}
        absent = self.cpus[0]
        words = [f"sibling={round(self.sibling * _PERMILLE)}"]
        for name, move in (("core", self.to_core), ("die", self.to_die)):
            words.append(f"{name}={move.lost_us * 1000},{move.keep_us * 1000}")
        for slot in range(max(present) + 1):
            cpu = present.get(slot, absent)
            words.append(f"cpu={round(cpu.speed * _PERMILLE)},{cpu.core},{cpu.die}")
        return " ".join(words)

    def setup(self) -> str:
        """Return shell commands for the guest: SMT control, then a sysfs with what an emulated CPU cannot say.

        The files of `sysfs` are laid over the kernel's, read-only, in a mount of the whole folder of the CPUs.
        """
        lines = []
        if self.smt_off:
            lines.append(f"echo off >{SYSFS_CPU}/smt/control")
        files = [(cpu.number, *entry) for cpu in self.cpus for entry in cpu.sysfs.items()]
        if files and not self.architecture:
            top = "/run/machine-sysfs"
            folders = sorted({f"{top}/{Path(f'cpu{n}', name).parent}" for n, name, _ in files})
            lines.append(f"mkdir -p {shlex.join(folders)}")
            lines += [
                f"echo {shlex.quote(str(value))} >{shlex.quote(f'{top}/cpu{number}/{name}')}"
                for number, name, value in files
            ]
            lines.append(f"mount -t overlay -o lowerdir={top}:{SYSFS_CPU} machine {SYSFS_CPU}")
        return "\n".join(lines)


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def find(name: str) -> Machine:
    """Return a machine by its name. Raises MachineError."""
    if name not in names():
        raise MachineError(f"no machine {name!r}; {FOLDER} has {', '.join(names())}")
    return parse(name, (FOLDER / f"{name}.toml").read_text())


def parse(name: str, text: str) -> Machine:
    """Parse the text of a machine's file. Raises MachineError."""
    try:
        return _machine(name, tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValueError, TypeError, KeyError) as e:
        raise MachineError(f"{name}.toml: {type(e).__name__}: {e}") from None


def _machine(name: str, data: dict[str, Any]) -> Machine:
    about, groups = str(data.pop("about")), data.pop("cores")
    to_core, to_die = (Move(**data.pop(key, {})) for key in ("to_core", "to_die"))
    sibling, smt_off = float(data.pop("sibling", 1.0)), bool(data.pop("smt_off", False))
    architecture = str(data.pop("architecture", ""))
    if data:
        raise ValueError(f"unknown keys: {', '.join(data)}")
    threads = max(int(group["threads"]) for group in groups)
    on_die: dict[int, int] = {}
    for group in groups:
        on_die[group["die"]] = on_die.get(group["die"], 0) + int(group["count"])
    dies = len(on_die)
    if sorted(on_die) != list(range(dies)):
        raise ValueError("dies are not numbered from 0 without holes")
    cores = max(on_die.values())
    cpus = _cpus(groups, cores, threads)
    if not 0 < len(cpus) <= _MAX_CPUS or not 0 < sibling <= 1:
        raise ValueError(f"{len(cpus)} CPUs, {sibling} beside a busy sibling")
    return Machine(
        name, about, cpus, dies, cores, threads, sibling, to_core, to_die, smt_off, architecture
    )


def _cpus(groups: list[dict[str, Any]], cores: int, threads: int) -> tuple[Cpu, ...]:
    cpus: list[Cpu] = []
    used: dict[int, int] = {}  # cores of a die so far
    for group in sorted(groups, key=lambda g: int(g["die"])):
        die, speed = group["die"], float(group["speed"])
        if unknown := group.keys() - {"count", "threads", "speed", "die", "sysfs"}:
            raise ValueError(f"unknown keys of a group of cores: {', '.join(sorted(unknown))}")
        if not 0 < speed <= 1:
            raise ValueError(f"speed {speed} is not above 0 and at most 1")
        for _ in range(group["count"]):
            core = die * cores + used.get(die, 0)
            used[die] = used.get(die, 0) + 1
            for thread in range(group["threads"]):
                slot = core * threads + thread
                sysfs = group.get("sysfs", {})
                cpus.append(Cpu(len(cpus), slot, core, die, thread, speed, sysfs))
    return tuple(cpus)
