# SPDX-License-Identifier: GPL-2.0-or-later
"""Parsers of /proc/PID.

Paths that are read again and again are strings, here and everywhere else: pathlib interns each part of a path, and
CPython's table of interned strings does not shrink when those are freed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scx_gamer.system.files import read_text

PROC = Path("/proc")
PF_EXITING, PF_KTHREAD = 0x4, 0x00200000  # include/linux/sched.h
# Of /proc/PID/cgroup: one line for each hierarchy, each shorter than PATH_MAX.
_CGROUP_BYTES = 65536
_DELETED = " (deleted)"
COMM_LENGTH = 15  # TASK_COMM_LEN - 1
_PROCESSOR = 36  # field of stat, counted from the one after comm
_STATUS_BYTES = 16384  # of stat and of status, which lists the groups before the capabilities


def read(pid: int, name: str, proc: Path = PROC, limit: int = -1) -> bytes:
    """Return the content of /proc/PID/`name`, at most `limit` bytes unless negative. Raises OSError."""
    path = f"{proc}/{pid}/{name}"
    if limit < 0:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # half of the time that a file object takes
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)


def boot_id(proc: Path = PROC) -> str:
    """Return the kernel's name for this boot; empty when it is unreadable."""
    return read_text(proc / "sys/kernel/random/boot_id") or ""


class ParseError(ValueError):
    """A text that is not in the format of proc(5)."""


class Stat(NamedTuple):
    """Fields of `/proc/PID/stat`; times in clock ticks (USER_HZ)."""

    pid: int
    comm: str
    ppid: int
    cpu: int
    start: int
    kthread: bool
    ended: bool


def parse_stat(text: str) -> Stat:
    """Parse `/proc/PID/stat`. Raises ParseError.

    comm may hold any byte, blanks, brackets and newlines included, so it ends at the last `)`. A process whose main
    thread has exited counts as ended only when no other thread is left.
    """
    opening, closing = text.find(" ("), text.rfind(")")
    if opening < 0 or closing < opening:
        raise ParseError("stat: no comm in brackets")
    rest = text[closing + 1 :].split()
    try:
        return Stat(
            pid=int(text[:opening]),
            comm=text[opening + 2 : closing],
            ppid=int(rest[1]),
            cpu=int(rest[11]) + int(rest[12]),
            start=int(rest[19]),
            kthread=bool(int(rest[6]) & PF_KTHREAD),
            ended=(rest[0] in "ZX" or bool(int(rest[6]) & PF_EXITING)) and int(rest[17]) <= 1,
        )
    except (IndexError, ValueError) as err:
        raise ParseError(f"stat: {err}") from err


def stat_of(pid: int, proc: Path = PROC) -> Stat | None:
    """Return the parsed stat of a process; None if it is gone or the text is not in proc(5)'s format."""
    try:
        return parse_stat(
            read(pid, "stat", proc, _STATUS_BYTES).decode("utf-8", "backslashreplace")
        )
    except (OSError, ParseError):
        return None


def start_of(pid: int, proc: Path = PROC) -> int | None:
    """Return the start time in clock ticks since boot, None if it ended. With the pid it identifies a process."""
    stat = stat_of(pid, proc)
    return None if stat is None or stat.ended else stat.start


def comm_of(pid: int, proc: Path = PROC) -> str:
    """Return the name of a process; empty if it is gone."""
    try:
        return read(pid, "comm", proc).rstrip(b"\n").decode("utf-8", "replace")
    except OSError:
        return ""


def pids(proc: Path = PROC) -> list[int]:
    """Return the pids of all processes. Raises OSError."""
    return [int(name) for name in os.listdir(proc) if name.isdecimal()]


def cgroup_path(pid: int, proc: Path = PROC) -> bytes:
    """Return the path of a process's cgroup (version 2) below the mount; empty if the process is gone."""
    try:
        # the kernel permits any byte but a newline in the name of a cgroup
        lines = read(pid, "cgroup", proc, _CGROUP_BYTES).split(b"\n")
    except OSError:
        return b""
    return next((line[len(b"0::") :] for line in lines if line.startswith(b"0::")), b"")


def cgroup_of(pid: int, proc: Path = PROC) -> str | None:
    """Return the path of a process's cgroup below the mount, at least `/`; None if either is gone."""
    path = os.fsdecode(cgroup_path(pid, proc))
    return path if path.startswith("/") and not path.endswith(_DELETED) else None


def program_names(pid: int, proc: Path = PROC) -> tuple[str, ...]:
    """Return the names of a process: path of its executable, last part of that, comm. Empty if it is gone."""
    comm = comm_of(pid, proc)
    try:
        exe = os.readlink(f"{proc}/{pid}/exe").removesuffix(_DELETED)
    except OSError:  # reading the link of another user's process needs CAP_SYS_PTRACE
        exe = _first_argument(pid, proc)
        if not exe or exe.rpartition("/")[2][:COMM_LENGTH] != comm:
            return (comm,) if comm else ()
    return (exe, exe.rpartition("/")[2], comm)


def _first_argument(pid: int, proc: Path) -> str:
    """Return argv[0], which the process itself can change; empty if it is gone."""
    try:
        raw = read(pid, "cmdline", proc)
    except OSError:
        return ""
    return os.fsdecode(raw.partition(b"\0")[0])


def thread_names(pid: int, most: int, proc: Path = PROC) -> dict[int, str]:
    """Return tid → name of the first `most` threads of a process; empty if it is gone."""
    found: dict[int, str] = {}
    try:
        tids = sorted(int(name) for name in os.listdir(f"{proc}/{pid}/task"))
    except OSError:
        return found
    for tid in tids[:most]:
        try:
            raw = read(pid, f"task/{tid}/comm", proc)
        except OSError:  # the thread ended
            continue
        found[tid] = raw.rstrip(b"\n").decode("utf-8", "backslashreplace")
    return found


def last_cpu_of(pid: int, tid: int, proc: Path = PROC) -> int | None:
    """Return the CPU on which a thread ran last; None if it is gone or the text is not in proc(5)'s format."""
    try:
        raw = read(pid, f"task/{tid}/stat", proc, _STATUS_BYTES)
        return int(raw.rpartition(b")")[2].split()[_PROCESSOR])
    except (OSError, ValueError, IndexError):
        return None


def uids_of(pid: int, proc: Path = PROC) -> set[int]:
    """Return the real, effective and saved uid of a process; empty if it is gone."""
    fields = _status_of(pid, b"Uid:", proc)[:3]
    return {int(f) for f in fields if f.isdigit()} if len(fields) == 3 else set()


def capabilities_of(pid: int, proc: Path = PROC) -> int | None:
    """Return the effective capabilities of a process, a bit each; None if it is gone."""
    try:
        return int(_status_of(pid, b"CapEff:", proc)[0], 16)
    except (IndexError, ValueError):
        return None


def _status_of(pid: int, name: bytes, proc: Path) -> list[bytes]:
    """Return the words of a line of /proc/PID/status; none if the process is gone."""
    try:
        text = read(pid, "status", proc, _STATUS_BYTES)
    except OSError:
        return []
    lines = (line for line in text.split(b"\n") if line.startswith(name))
    return next(lines, b"").split()[1:]


MAX_MAPS_BYTES = 4 << 20  # of /proc/PID/maps: 40 000 mappings
MAX_DESCRIPTORS = 4096  # of a process that are read
# Devices of a GPU: DRM (Mesa, NVIDIA's open stack), NVIDIA's own, Arm's, Qualcomm's, WSL's.
_GPUS = (
    "/dev/dri/renderD",
    "/dev/dri/card",
    "/dev/nvidia0",
    "/dev/nvidia1",
    "/dev/mali",
    "/dev/kgsl",
    "/dev/dxg",
)


def words_of(pid: int, proc: Path = PROC, limit: int = 4096) -> str:
    """Return the command line of a process, words apart by blanks; empty when it is gone."""
    try:
        raw = read(pid, "cmdline", proc, limit)
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode("utf-8", "backslashreplace").strip()


def open_files(pid: int, proc: Path = PROC) -> Iterator[str]:
    """Return the paths of a process's descriptors, of the first MAX_DESCRIPTORS. Raises OSError."""
    with os.scandir(f"{proc}/{pid}/fd") as entries:
        paths = [entry.path for _, entry in zip(range(MAX_DESCRIPTORS), entries, strict=False)]
    return map(link, paths)


def has_gpu(pid: int, proc: Path = PROC) -> bool:
    """Return True if the process holds a GPU's device open.

    The descriptors of other users take CAP_DAC_READ_SEARCH. Without it, a GPU that is mapped will do.
    """
    try:
        return any(path.startswith(_GPUS) for path in open_files(pid, proc))
    except PermissionError:
        return _maps_gpu(pid, proc)
    except OSError:
        return False


def _maps_gpu(pid: int, proc: Path) -> bool:
    try:
        maps = read(pid, "maps", proc, MAX_MAPS_BYTES).decode("ascii", "replace")
    except OSError:
        return False
    return any(f" {gpu}" in maps for gpu in _GPUS)


def link(path: str) -> str:
    """Return the target of a link; empty if it is unreadable or gone."""
    try:
        return os.readlink(path)
    except OSError:
        return ""
