# SPDX-License-Identifier: GPL-2.0-only
"""Where the cgroup2 hierarchy is, who is in it, and which processes a target means."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.config.network import Target
from scx_gamer.system import procfs

_MAX_DEPTH = 32
_COMM = 15  # what the kernel keeps of a process's name


@dataclass(frozen=True)
class Hierarchy:
    """`mount` is None without cgroup2; `hybrid` when version 1 is mounted beside it."""

    mount: Path | None
    hybrid: bool


def hierarchy(proc: Path = Path("/proc")) -> Hierarchy:
    """What mountinfo says. Raises OSError."""
    mount: Path | None = None
    hybrid = False
    for line in (
        (proc / "self/mountinfo").read_bytes().decode("utf-8", "surrogateescape").splitlines()
    ):
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")[0]
        if not dash or len(fields) < 5:
            continue
        if kind == "cgroup":
            hybrid = True
        elif kind == "cgroup2" and fields[3] == "/" and mount is None:
            mount = Path(_unescape(fields[4]))
    return Hierarchy(mount, hybrid)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def cgroup_of(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Path of a process's cgroup below the mount, `/` at least; None when it is gone."""
    try:
        text = procfs.read(pid, "cgroup", proc).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("0::/") and not line.endswith(" (deleted)"):
            return line[3:]
    return None


def names_of(pid: int, proc: Path = Path("/proc")) -> tuple[str, ...]:
    """What a process may be called by: its executable's path, the last part of it, its comm."""
    comm = procfs.comm_of(pid, proc)
    try:
        exe = os.readlink(f"{proc}/{pid}/exe").removesuffix(" (deleted)")
    except OSError:  # another user's: with CAP_SYS_PTRACE only
        exe = _command_of(pid, proc)
        if not exe or exe.rpartition("/")[2][:_COMM] != comm:
            return (comm,) if comm else ()
    return (exe, exe.rpartition("/")[2], comm)


def _command_of(pid: int, proc: Path) -> str:
    """What a process was started as, in its own words; empty when it is gone."""
    try:
        raw = procfs.read(pid, "cmdline", proc)
    except OSError:
        return ""
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def folders(mount: Path) -> Iterator[Path]:
    """Every cgroup below the mount, parents first; one that vanishes meanwhile is left out."""
    todo = [(mount, 0)]
    while todo:
        folder, depth = todo.pop()
        try:
            with os.scandir(folder) as entries:
                inner = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except OSError:
            continue
        for name in inner:
            yield folder / name
            if depth < _MAX_DEPTH:
                todo.append((folder / name, depth + 1))


def members(folder: Path) -> set[int]:
    """Processes in a cgroup and in those below it."""
    found: set[int] = set()
    for place in (folder, *folders(folder)):
        try:
            found.update(int(pid) for pid in (place / "cgroup.procs").read_text().split())
        except (OSError, ValueError):  # gone, or a threaded one, whose processes its parent lists
            continue
    found.discard(0)  # of another pid namespace
    return found


def processes(proc: Path = Path("/proc")) -> Iterator[int]:
    for name in os.listdir(proc):
        if name.isdecimal():
            yield int(name)


@dataclass(frozen=True)
class Member:
    """A process that a target means, and the cgroup that is limited for it, below the mount."""

    pid: int
    path: str


def resolve(target: Target, mount: Path, proc: Path = Path("/proc")) -> list[Member]:
    """Whom a target means now; the supervisor itself never is."""
    if target.kind in ("unit", "app"):
        found = [
            Member(pid, f"/{folder.relative_to(mount)}")
            for folder in _outermost(target, mount)
            for pid in members(folder)
        ]
    else:
        pids = [int(target.text)] if target.kind == "pid" else _running(target.text, proc)
        paths = ((pid, cgroup_of(pid, proc)) for pid in pids)
        found = [Member(pid, path) for pid, path in paths if path is not None]
    return [member for member in found if member.pid != os.getpid()]


def _running(name: str, proc: Path) -> list[int]:
    def is_it(pid: int) -> bool:
        names = names_of(pid, proc)
        # a name that /proc cut short is still meant
        return name in names or (len(name) > _COMM and name[:_COMM] in names[-1:])

    return [pid for pid in processes(proc) if is_it(pid)]


def _outermost(target: Target, mount: Path) -> list[Path]:
    found: list[Path] = []
    for folder in folders(mount):
        inside = any(folder.is_relative_to(other) for other in found)
        if not inside and matches(target, folder.name):
            found.append(folder)
    return found


def matches(target: Target, name: str) -> bool:
    """Whether a cgroup's name is the unit, or a unit of the app, that a target means."""
    plain = re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), name)
    if target.kind == "unit":
        return fnmatch.fnmatchcase(name, target.text) or fnmatch.fnmatchcase(plain, target.text)
    app = fnmatch.translate(target.text).removesuffix("\\Z").removesuffix("\\z")
    # desktops: app[-LAUNCHER]-ID-NUMBER.scope, app[-LAUNCHER]-ID@NUMBER.service; and snaps
    pattern = rf"(app-([^-]+-)?{app}(-[^-]+\.scope|(@.*)?\.service|\.slice)|snap\.{app}\..*)"
    return re.fullmatch(pattern, plain, re.IGNORECASE) is not None
