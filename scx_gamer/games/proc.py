# SPDX-License-Identifier: GPL-2.0-only
"""What the rules may know of a process: `/proc` text, read once, bounded, never trusted.

Nothing here attaches to, traces or reads the memory of a process. An entry that vanishes between two reads is
a process that is gone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from scx_gamer.system import procfs

MAX_CMDLINE_BYTES = 64 * 1024
MAX_ENVIRON_BYTES = 256 * 1024
MAX_VALUE = 4096  # characters of one variable: the longest path, which a prefix is
MAX_TEXT_OF_USER = 32 << 20  # bytes of text of all processes of one user; a desktop has one or two
# Every rule walks these, for every process: a chain of 5000 shells took minutes without a limit. A game that
# Steam starts in a container has about 15 ancestors.
MAX_DEPTH = 64
_OBJECT_BYTES = 64  # of a str beside its characters
_SHORT = 256
ENV_KEYS = frozenset(
    {
        "SteamAppId",
        "SteamGameId",
        "STEAM_COMPAT_APP_ID",
        "GAMEID",
        "UMU_ID",
        "WINEPREFIX",
        "LUTRIS_GAME_UUID",
    }
)


@dataclass(frozen=True, slots=True)
class Process:
    """One process as `/proc` shows it. `start_ticks` is field 22 of `stat`, in clock ticks since boot."""

    pid: int
    ppid: int
    start_ticks: int
    comm: str
    argv: tuple[str, ...] = ()
    exe: str = ""
    cgroup: str = ""
    uid: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    cpu_ticks: int = 0
    kthread: bool = False

    @property
    def identity(self) -> tuple[int, int]:
        """(pid, start time): a pid alone is used again."""
        return self.pid, self.start_ticks

    @property
    def text_bytes(self) -> int:
        """About what the text of this process occupies here, objects included."""
        texts = (*self.argv, *self.env.values(), self.exe, self.cgroup)
        return sum(len(text) for text in texts) + _OBJECT_BYTES * len(texts)

    @property
    def program(self) -> str:
        """File name of the executable, lower case; NixOS's `.name-wrapped` is unwrapped."""
        path = self.exe.removesuffix(" (deleted)") or (self.argv[0] if self.argv else "")
        name = path.replace("\\", "/").rsplit("/", 1)[-1].lower() or self.comm.lower()
        if name.startswith(".") and name.endswith("-wrapped"):
            name = name[1 : -len("-wrapped")]
        return name


def split_nul(raw: bytes) -> tuple[str, ...]:
    """NUL-separated bytes → strings; what is not UTF-8 is kept as escapes."""
    parts = raw.split(b"\0")
    while parts and not parts[-1]:
        parts.pop()
    return tuple(part.decode("utf-8", "backslashreplace") for part in parts)


def parse_environ(raw: bytes) -> dict[str, str]:
    """The few variables that rules confirm with; all others are dropped at once."""
    found: dict[str, str] = {}
    for entry in raw.split(b"\0"):
        key, sep, value = entry.partition(b"=")
        name = key.decode("ascii", "replace")
        if sep and name in ENV_KEYS:
            found[name] = value[:MAX_VALUE].decode("utf-8", "backslashreplace")[:MAX_VALUE]
    return found


class ProcFs:
    """Reader of one mounted `/proc`."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root

    def pids(self) -> list[int]:
        return procfs.pids(self._root)

    def read(self, pid: int, known: Process | None = None) -> Process | None:
        """The process, or None when it is gone or unreadable. `known`: as it was; what executes the same file under the
        same name still has the same command line."""
        stat = procfs.stat_of(pid, self._root)
        if stat is None or stat.ended:
            return None
        if stat.kthread:
            return Process(
                stat.pid, stat.ppid, stat.start, stat.comm, kthread=True, cpu_ticks=stat.cpu
            )
        exe = self._link(pid, "exe")
        as_known = (stat.start, stat.comm, exe)
        if known is not None and (known.start_ticks, known.comm, known.exe) == as_known:
            return replace(known, ppid=stat.ppid, cpu_ticks=stat.cpu)
        return Process(
            pid=stat.pid,
            ppid=stat.ppid,
            start_ticks=stat.start,
            comm=stat.comm,
            argv=split_nul(self._optional(pid, "cmdline", MAX_CMDLINE_BYTES)),
            exe=exe,
            cgroup=self._cgroup(pid),
            uid=self._uid(pid),
            env=parse_environ(self._optional(pid, "environ", MAX_ENVIRON_BYTES)),
            cpu_ticks=stat.cpu,
        )

    def has_render_node(self, pid: int) -> bool:
        """Whether the process holds a DRM render node open."""
        try:
            names = os.listdir(f"{self._root}/{pid}/fd")
        except OSError:
            return False
        return any(self._link(pid, f"fd/{name}").startswith("/dev/dri/renderD") for name in names)

    def _bytes(self, pid: int, name: str, limit: int) -> bytes:
        return procfs.read(pid, name, self._root, limit)

    def _optional(self, pid: int, name: str, limit: int) -> bytes:
        try:
            return self._bytes(pid, name, limit)
        except OSError:
            return b""

    def _link(self, pid: int, name: str) -> str:
        try:
            raw = os.readlink(os.fsencode(f"{self._root}/{pid}/{name}"))
        except OSError:
            return ""
        return raw.decode("utf-8", "backslashreplace")

    def _cgroup(self, pid: int) -> str:
        return procfs.cgroup_path(pid, self._root).decode("utf-8", "backslashreplace")

    def _uid(self, pid: int) -> int:
        try:
            return os.stat(f"{self._root}/{pid}").st_uid
        except OSError:
            return 0


class Tree:
    """A set of processes and who started whom."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self._by_pid: dict[int, Process] = {}
        self._children: dict[int, list[int]] = {}
        self._text: Counter[int] = Counter()  # uid -> bytes
        for process in processes:
            self.put(process)

    @classmethod
    def scan(cls, proc: ProcFs) -> Tree:
        return cls(p for p in map(proc.read, proc.pids()) if p is not None)

    def __contains__(self, pid: int) -> bool:
        return pid in self._by_pid

    def __iter__(self) -> Iterator[Process]:
        return iter(self._by_pid.values())

    def __len__(self) -> int:
        return len(self._by_pid)

    def get(self, pid: int) -> Process | None:
        return self._by_pid.get(pid)

    def put(self, process: Process) -> None:
        """Add a process or replace what was known under its pid.

        Of a user whose processes have too much text already it is kept without: his own games are found no more.
        """
        self.remove(process.pid)
        if self._text[process.uid] + process.text_bytes > MAX_TEXT_OF_USER and process.uid != 0:
            process = replace(process, argv=(), env={}, exe=process.exe[:_SHORT], cgroup="")
        self._text[process.uid] += process.text_bytes
        self._by_pid[process.pid] = process
        self._children.setdefault(process.ppid, []).append(process.pid)

    def remove(self, pid: int) -> None:
        old = self._by_pid.pop(pid, None)
        if old is not None:
            self._text[old.uid] -= old.text_bytes
            siblings = self._children.get(old.ppid, [])
            if pid in siblings:
                siblings.remove(pid)
            if not siblings:
                self._children.pop(old.ppid, None)

    def ancestors(self, process: Process) -> Iterator[Process]:
        """Parents first, at most MAX_DEPTH of them; a loop, which only a torn snapshot shows, ends it."""
        seen = {process.pid}
        parent = self._by_pid.get(process.ppid)
        while parent is not None and parent.pid not in seen and len(seen) <= MAX_DEPTH:
            seen.add(parent.pid)
            yield parent
            parent = self._by_pid.get(parent.ppid)

    def children(self, pid: int) -> list[Process]:
        return [self._by_pid[child] for child in self._children.get(pid, ())]

    def descendants(self, pid: int) -> Iterator[Process]:
        """Children before grandchildren; `pid` itself is not among them."""
        seen = {pid}
        queue = list(self._children.get(pid, ()))
        while queue:
            child = queue.pop(0)
            if child in seen or child not in self._by_pid:
                continue
            seen.add(child)
            yield self._by_pid[child]
            queue.extend(self._children.get(child, ()))
