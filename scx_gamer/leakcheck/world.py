# SPDX-License-Identifier: GPL-2.0-or-later
"""A snapshot of resources by identity. Equal counts could hide one lost resource and one left behind."""

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

# The kernel frees BPF ids up to a quarter of a second after the close, and later on a busy machine.
QUIET_S = 3.0
_POLL_S = 0.05
BPFFS = Path("/sys/fs/bpf")
CGROUPS = Path("/sys/fs/cgroup")
_NAME = 15  # BPF_OBJ_NAME_LEN - 1: characters of a program's or map's name in the kernel
# Bits of /proc/sys/kernel/tainted that report a fault (Documentation/admin-guide/tainted-kernels.rst).
_TAINTS = {4: "machine check", 5: "bad page", 7: "died", 9: "warned", 14: "soft lockup"}
# Directories of temporary files, and the prefixes of ours there; "" for any. Tests in a guest change them, because its
# /tmp shows the files of its host.
PLACES = {
    tempfile.gettempdir(): ("",),
    "/dev/shm": ("",),
    "/run": ("scx", "tmp"),
    "/run/scx-gamer": ("",),
}
_OPTIONAL = ("netlimit", "threads", "frames", "flips", "interference", "fences")  # objects
_NOT_OURS = ("pytest-of-", ".", "systemd-private-", "vng-", "virtme_")


@dataclass(frozen=True, order=True)
class Resource:
    """A resource that could be leaked: its kind and identity."""

    kind: str
    which: str

    def __str__(self) -> str:
        return f"{self.kind} {self.which}"


@dataclass(frozen=True)
class Names:
    """Names of our programs and maps as the kernel truncates them, to ignore those of other processes."""

    programs: frozenset[str]
    maps: frozenset[str]

    @classmethod
    def ours(cls) -> Names:
        """Read the names from the built objects. Raises BpfError."""
        programs: set[str] = set()
        maps: set[str] = set()
        for name in ("observe", "sched", *_OPTIONAL):
            try:
                path = find_object(name)
            except BpfError:
                if name in _OPTIONAL:
                    continue
                raise
            with Object.open(path) as obj:
                programs |= {program[:_NAME] for program in obj.programs}
                maps |= {one[:_NAME] for one in obj.maps}
        return cls(frozenset(programs), frozenset(maps))


World = frozenset[Resource]


def now(own: Names | None = None) -> World:
    """Return all resources; with `own`, only our own BPF objects and files. Raises BpfError, also for EPERM."""
    return frozenset(_all(own))


def left_over(before: World, own: Names | None = None, quiet_s: float = QUIET_S) -> list[Resource]:
    """Return the resources that are not in `before`, after `quiet_s` seconds or more for them to be released.

    Looks are counted, not seconds: while the machine stands still, nothing is released.
    """
    for _ in range(1 + round(quiet_s / _POLL_S)):
        if not (left := now(own) - before):
            break
        time.sleep(_POLL_S)
    return sorted(left)


def _all(own: Names | None) -> Iterator[Resource]:
    yield from _bpf(own)
    yield from _resources("pin", _pins(), None if own is None else ("scx",))
    yield from _cgroups(own)
    yield from _resources("fd", _fds())
    yield from _resources("thread", _threads())
    yield from _resources("child process", _children())
    yield from _resources("file", _files(only_named=own is not None))
    yield from _resources("kernel taint", _taints())
    state = sysfs.state()
    if state not in ("", "disabled") and (own is None or sysfs.loaded() == sysfs.OURS):
        yield Resource("scheduler", f"{printable(sysfs.loaded())} ({state})")


def _resources(
    kind: str, which: Iterable[str], beginnings: tuple[str, ...] | None = None
) -> Iterator[Resource]:
    for one in which:
        if beginnings is None or Path(one).name.startswith(beginnings):
            yield Resource(kind, printable(one))


def _bpf(own: Names | None) -> Iterator[Resource]:
    wanted = {
        "prog": None if own is None else own.programs,
        "map": None if own is None else own.maps,
        "link": None if own is None else own.programs | own.maps,
        "btf": None if own is None else frozenset({"scxg"}),
    }
    for kind, names in wanted.items():
        for number, name in kernel.names(kind).items():
            if names is None or name in names:
                yield Resource(f"BPF {kind}", f"{number} {printable(name)}".rstrip())


def _pins() -> Iterator[str]:
    for folder, _folders, files in os.walk(BPFFS):
        for name in files:
            yield os.path.join(folder, name)


def _cgroups(own: Names | None) -> Iterator[Resource]:
    """Yield programs on all cgroups, attached by a link or by BPF_PROG_ATTACH, which outlives the process."""
    programs: dict[int, str] | None = None
    for folder, _folders, _files in os.walk(CGROUPS):
        try:
            found = kernel.cgroup_programs(Path(folder))
        except (BpfError, OSError):  # removed meanwhile, or not cgroup v2
            continue
        for direction, numbers in found.items():
            if programs is None:
                programs = kernel.names("prog")
            for number in numbers:
                name = programs.get(number, "")
                if own is None or name in own.programs:
                    yield Resource(
                        "cgroup program", f"{number} {printable(name)} {direction} of {folder}"
                    )


def _fds() -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):
        try:
            yield f"{name} {os.readlink(f'/proc/self/fd/{name}')}"
        except OSError:  # the fd of the listing itself
            continue


def _threads() -> Iterator[str]:
    for name in os.listdir("/proc/self/task"):
        try:
            yield f"{name} {Path(f'/proc/self/task/{name}/comm').read_text('utf-8', 'replace').strip()}"
        except OSError:
            continue


def _children() -> Iterator[str]:
    """Yield child processes, found in all of /proc because task/TID/children is optional (CONFIG_PROC_CHILDREN)."""
    me = os.getpid()
    for pid in procfs.pids():
        stat = procfs.stat_of(pid)
        if stat is not None and stat.ppid == me:
            yield f"{pid} {stat.comm}"


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
