# SPDX-License-Identifier: GPL-2.0-or-later
"""The cgroup2 hierarchy, the processes in it, and the resolution of targets to processes."""

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


@dataclass(frozen=True)
class Hierarchy:
    """Mounted cgroup hierarchies. `mount` is None without cgroup2; `hybrid` is True if cgroup v1 is mounted too."""

    mount: Path | None
    hybrid: bool


def hierarchy(proc: Path = Path("/proc")) -> Hierarchy:
    """Read /proc/self/mountinfo. Raises OSError."""
    mount: Path | None = None
    hybrid = False
    mounts = (proc / "self/mountinfo").read_bytes().decode("utf-8", "surrogateescape")
    for line in mounts.splitlines():
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


def descendants(mount: Path) -> Iterator[Path]:
    """Yield every cgroup below the mount, parents first. One that is removed meanwhile is left out."""
    todo = [(mount, 0)]
    while todo:
        cgroup, depth = todo.pop()
        try:
            with os.scandir(cgroup) as entries:
                inner = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except OSError:
            continue
        for name in inner:
            yield cgroup / name
            if depth < _MAX_DEPTH:
                todo.append((cgroup / name, depth + 1))


def members(folder: Path) -> set[int]:
    """Return the processes in a cgroup and in its descendants."""
    found: set[int] = set()
    for place in (folder, *descendants(folder)):
        try:
            found.update(int(pid) for pid in (place / "cgroup.procs").read_text().split())
        # removed, or a threaded cgroup, whose processes its parent lists
        except (OSError, ValueError):
            continue
    found.discard(0)  # shown for processes of other pid namespaces
    return found


@dataclass(frozen=True)
class Member:
    """A process that matches a target, and the path below the mount of the cgroup that is limited for it."""

    pid: int
    path: str


def resolve(target: Target, mount: Path, proc: Path = Path("/proc")) -> list[Member]:
    """Return the processes that match a target now, never the supervisor itself."""
    if target.kind in ("unit", "app"):
        found = [
            Member(pid, f"/{folder.relative_to(mount)}")
            for folder in _outermost(target, mount)
            for pid in members(folder)
        ]
    else:
        pids = [int(target.text)] if target.kind == "pid" else _running(target.text, proc)
        paths = ((pid, procfs.cgroup_of(pid, proc)) for pid in pids)
        found = [Member(pid, path) for pid, path in paths if path is not None]
    return [member for member in found if member.pid != os.getpid()]


def _running(name: str, proc: Path) -> list[int]:
    def is_match(pid: int) -> bool:
        names = procfs.program_names(pid, proc)
        # a longer name matches the comm that the kernel truncated
        return name in names or (
            len(name) > procfs.COMM_LENGTH and name[: procfs.COMM_LENGTH] in names[-1:]
        )

    return [pid for pid in procfs.pids(proc) if is_match(pid)]


def _outermost(target: Target, mount: Path) -> list[Path]:
    found: list[Path] = []
    for folder in descendants(mount):
        inside = any(folder.is_relative_to(other) for other in found)
        if not inside and matches(target, folder.name):
            found.append(folder)
    return found


def matches(target: Target, name: str) -> bool:
    """Return True if a cgroup's name is the unit, or a unit of the app, of a target."""
    plain = re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), name)
    if target.kind == "unit":
        return fnmatch.fnmatchcase(name, target.text) or fnmatch.fnmatchcase(plain, target.text)
    app = fnmatch.translate(target.text).removesuffix("\\Z").removesuffix("\\z")
    # https://systemd.io/DESKTOP_ENVIRONMENTS: app[-LAUNCHER]-ID-RANDOM.scope, app[-LAUNCHER]-ID@RANDOM.service,
    # app[-LAUNCHER]-ID.slice. snapd: snap.ID.NAME-UUID.scope
    pattern = rf"(app-([^-]+-)?{app}(-[^-]+\.scope|(@.*)?\.service|\.slice)|snap\.{app}\..*)"
    return re.fullmatch(pattern, plain, re.IGNORECASE) is not None
