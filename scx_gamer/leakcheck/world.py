# SPDX-License-Identifier: GPL-2.0-only
"""What is there now, by identity: two equal counts can hide one thing lost and another left behind."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.libbpf import BpfError, Object, find_object, kernel
from scx_gamer.scheduler import sysfs
from scx_gamer.system import procfs
from scx_gamer.system.text import printable

QUIET_S = (
    3.0  # BPF ids go away up to a quarter of a second after the close; a busy machine takes longer
)
BPFFS = Path("/sys/fs/bpf")
CGROUPS = Path("/sys/fs/cgroup")
_NAME = 15  # what the kernel keeps of a program's or a map's name
# Bits of /proc/sys/kernel/tainted that say the kernel complained; modules set others.
_TAINTS = {4: "machine check", 5: "bad page", 7: "died", 9: "warned", 14: "soft lockup"}
# Where a temporary file of ours could be, and the beginnings of its name there; "" for any.
# A guest's own: its /tmp shows those of its host, where others work too.
PLACES = {
    tempfile.gettempdir(): ("",),
    "/dev/shm": ("",),
    "/run": ("scx", "tmp"),
    "/run/scx-gamer": ("",),
}
_NOT_OURS = ("pytest-of-", ".", "systemd-private-", "vng-", "virtme_")


@dataclass(frozen=True, order=True)
class Thing:
    """One thing that could stay behind: what it is and which one."""

    kind: str
    which: str

    def __str__(self) -> str:
        return f"{self.kind} {self.which}"


@dataclass(frozen=True)
class Names:
    """Names of our programs and maps, as far as the kernel keeps them: on a machine in use others come and go."""

    programs: frozenset[str]
    maps: frozenset[str]

    @classmethod
    def ours(cls) -> Names:
        """Read from the built objects. Raises BpfError."""
        programs: set[str] = set()
        maps: set[str] = set()
        for name in ("observe", "sched", "netlimit", "threads"):
            try:
                path = find_object(name)
            except BpfError:
                if name in ("netlimit", "threads"):  # optional parts
                    continue
                raise
            with Object.open(path) as obj:
                programs |= {program[:_NAME] for program in obj.programs}
                maps |= {one[:_NAME] for one in obj.maps}
        return cls(frozenset(programs), frozenset(maps))


World = frozenset[Thing]


def now(mine: Names | None = None) -> World:
    """Everything there is, or of BPF objects and files only ours. Raises BpfError without permission."""
    return frozenset(_all(mine))


def left_over(before: World, mine: Names | None = None, quiet_s: float = QUIET_S) -> list[Thing]:
    """What is there now and was not before, after waiting for it to go."""
    deadline = time.monotonic() + quiet_s
    while (left := now(mine) - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    return sorted(left)


def _all(mine: Names | None) -> Iterator[Thing]:
    yield from _bpf(mine)
    yield from _things("pin", _pins(), None if mine is None else ("scx",))
    yield from _cgroups(mine)
    yield from _things("fd", _fds())
    yield from _things("thread", _threads())
    yield from _things("child process", _children())
    yield from _things("file", _files(only_named=mine is not None))
    yield from _things("kernel taint", _taints())
    state = sysfs.state()
    if state not in ("", "disabled") and (mine is None or sysfs.loaded() == sysfs.OURS):
        yield Thing("scheduler", f"{printable(sysfs.loaded())} ({state})")


def _things(
    kind: str, which: Iterable[str], beginnings: tuple[str, ...] | None = None
) -> Iterator[Thing]:
    for one in which:
        if beginnings is None or Path(one).name.startswith(beginnings):
            yield Thing(kind, printable(one))


def _bpf(mine: Names | None) -> Iterator[Thing]:
    wanted = {
        "prog": None if mine is None else mine.programs,
        "map": None if mine is None else mine.maps,
        "link": None if mine is None else mine.programs | mine.maps,
        "btf": None if mine is None else frozenset({"scxg"}),
    }
    for kind, names in wanted.items():
        for number, name in kernel.names(kind).items():
            if names is None or name in names:
                yield Thing(f"BPF {kind}", f"{number} {printable(name)}".rstrip())


def _pins() -> Iterator[str]:
    for folder, _folders, files in os.walk(BPFFS):
        for name in files:
            yield os.path.join(folder, name)


def _cgroups(mine: Names | None) -> Iterator[Thing]:
    """Programs on any cgroup, by link or the legacy way, which outlives its process."""
    programs: dict[int, str] | None = None
    for folder, _folders, _files in os.walk(CGROUPS):
        try:
            found = kernel.cgroup_programs(Path(folder))
        except (BpfError, OSError):  # gone meanwhile, or no cgroup v2
            continue
        for direction, numbers in found.items():
            if programs is None:
                programs = kernel.names("prog")
            for number in numbers:
                name = programs.get(number, "")
                if mine is None or name in mine.programs:
                    yield Thing(
                        "cgroup program", f"{number} {printable(name)} {direction} of {folder}"
                    )


def _fds() -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):
        try:
            yield f"{name} {os.readlink(f'/proc/self/fd/{name}')}"
        except OSError:  # the one that listed them
            continue


def _threads() -> Iterator[str]:
    for name in os.listdir("/proc/self/task"):
        try:
            yield f"{name} {Path(f'/proc/self/task/{name}/comm').read_text('utf-8', 'replace').strip()}"
        except OSError:
            continue


def _children() -> Iterator[str]:
    """Found by walking: not every kernel has task/TID/children."""
    me = os.getpid()
    for name in os.listdir("/proc"):
        stat = procfs.stat_of(int(name)) if name.isdecimal() else None
        if stat is not None and stat.ppid == me:
            yield f"{name} {stat.comm}"


def _files(*, only_named: bool) -> Iterator[str]:
    for folder, beginnings in PLACES.items():
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if name.startswith(_NOT_OURS) or not name.startswith(beginnings):
                continue
            if only_named and not (name.startswith("scx") or folder.endswith("scx-gamer")):
                continue
            yield f"{folder}/{name}"


def _taints() -> Iterator[str]:
    try:
        value = int(Path("/proc/sys/kernel/tainted").read_text())
    except (OSError, ValueError):
        return
    for bit, name in _TAINTS.items():
        if value & (1 << bit):
            yield name
