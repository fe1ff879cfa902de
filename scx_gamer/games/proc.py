# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts of processes for the rules: `/proc` text, read once, bounded, never trusted.

Nothing here attaches to, traces or reads the memory of a process. An entry that vanishes between two reads is
a process that is gone.
"""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from scx_gamer.games import userfiles
from scx_gamer.games.commandline import live_path, unwrap
from scx_gamer.system import procfs

MAX_CMDLINE_BYTES = 128 * 1024  # a class path is one word of up to 128 KB (MAX_ARG_STRLEN)
MAX_ENVIRON_BYTES = 256 * 1024
MAX_VALUE = 512  # characters of a variable that are kept
MAX_TEXT_OF_USER = 32 << 20  # bytes of text of all processes of one user; a desktop has one or two
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
        "HEROIC_APP_NAME",
        "APPIMAGE",
        "FLATPAK_ID",
        "CONTAINER_ID",
        "container",
    }
)
_MARKS = tuple((b"\0%s=" % key.encode(), key) for key in sorted(ENV_KEYS))
_FIRST_READ = 16 * 1024  # a buffer of all that may come costs more than the read


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
    flatpak: str = ""  # application of the sandbox, where no scope says it

    @property
    def identity(self) -> tuple[int, int]:
        """(pid, start time): a pid alone is used again."""
        return self.pid, self.start_ticks

    @property
    def text_bytes(self) -> int:
        """About the size of this process's text here, objects included."""
        texts = (*self.argv, *self.env.values(), self.exe, self.cgroup)
        return sum(map(len, texts)) + _OBJECT_BYTES * len(texts)

    @property
    def program(self) -> str:
        """File name of the executable, lower case; NixOS's `.name-wrapped` is unwrapped."""
        path = self.exe.removesuffix(" (deleted)") or (self.argv[0] if self.argv else "")
        name = path.replace("\\", "/").rsplit("/", 1)[-1].lower() or self.comm.lower()
        return unwrap(name)


def split_nul(raw: bytes) -> tuple[str, ...]:
    """NUL-separated bytes → strings; what is not UTF-8 is kept as escapes."""
    parts = raw.split(b"\0")
    while parts and not parts[-1]:
        parts.pop()
    return tuple(part.decode("utf-8", "backslashreplace") for part in parts)


def parse_environ(raw: bytes) -> dict[str, str]:
    """The few variables that rules confirm with; all others are dropped at once."""
    found: dict[str, str] = {}
    raw = b"\0" + raw
    for mark, name in _MARKS:  # a search each: to split all of it costs ten times as much
        at = raw.find(mark)
        if at >= 0:
            start = at + len(mark)
            end = raw.find(b"\0", start)
            value = raw[start : end if end >= 0 else len(raw)][: 4 * MAX_VALUE]
            found[name] = value.decode("utf-8", "backslashreplace")[:MAX_VALUE]
    return found


class ProcFs:
    """Reader of one mounted `/proc`."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root
        self._inodes: dict[int, int] = {}  # of the folders, as they were read

    def pids(self) -> Iterator[int]:
        """Pids as the folder is read, some at a time. Raises OSError."""
        alive: set[int] = set()
        with os.scandir(self._root) as entries:
            for entry in entries:
                if entry.name.isdecimal():
                    alive.add(pid := int(entry.name))
                    yield pid
        if len(self._inodes) > 2 * len(alive) + 1024:
            self._inodes = {pid: inode for pid, inode in self._inodes.items() if pid in alive}

    def read(self, pid: int, known: Process | None = None) -> Process | None:
        """The process, or None when it is gone or unreadable. `known`: as it was; what executes the same file under the
        same name still has the same command line."""
        try:
            stat = procfs.parse_stat(
                self._optional(pid, "stat", 4096).decode("utf-8", "backslashreplace")
            )
        except procfs.ParseError:  # it is gone, or a text that no kernel writes
            return None
        if stat.ended:
            return None
        folder = self._folder(pid)
        self._inodes[pid] = folder.st_ino if folder is not None else 0
        if stat.kthread:
            return Process(
                stat.pid, stat.ppid, stat.start, stat.comm, kthread=True, cpu_ticks=stat.cpu
            )
        exe = self._link(pid, "exe")
        as_known = (stat.start, stat.comm, exe)
        if known is not None and (known.start_ticks, known.comm, known.exe) == as_known:
            return replace(known, ppid=stat.ppid, cpu_ticks=stat.cpu)
        process = Process(
            pid=stat.pid,
            ppid=stat.ppid,
            start_ticks=stat.start,
            comm=stat.comm,
            argv=split_nul(self._optional(pid, "cmdline", MAX_CMDLINE_BYTES)),
            exe=exe,
            cgroup=self._cgroup(pid),
            uid=folder.st_uid if folder is not None else 0,
            env=parse_environ(self._optional(pid, "environ", MAX_ENVIRON_BYTES)),
            cpu_ticks=stat.cpu,
        )
        flatpak = "" if "/app-flatpak-" in process.cgroup else self._flatpak(process)
        return replace(process, flatpak=flatpak) if flatpak else process

    def is_same(self, known: Process) -> bool:
        """Return True if the process still executes the same file: two look-ups instead of a whole read."""
        if not known.kthread and (not known.exe or self._link(known.pid, "exe") != known.exe):
            return False
        folder = self._folder(known.pid)  # the kernel gives another process another inode
        return folder is not None and folder.st_ino == self._inodes.get(known.pid)

    def _folder(self, pid: int) -> os.stat_result | None:
        try:
            return os.stat(f"{self._root}/{pid}")
        except OSError:
            return None

    def is_roots(self, process: Process, script: str = "") -> bool:
        """Return True if root alone decides what the process executes: the file, and for an interpreter its script."""
        exe = live_path(process.exe)
        paths = [os.path.realpath(script)] if script else []
        try:
            running = os.stat(f"{self._root}/{process.pid}/exe")
            if exe == process.exe:
                named = os.stat(exe)  # a sandbox may show another file under a path of ours
                same = (running.st_dev, running.st_ino) == (named.st_dev, named.st_ino)
                paths.append(os.path.realpath(exe))
            else:  # an upgrade has replaced it: no name is left, but whose it was and where
                folder = os.path.realpath(exe.rpartition("/")[0] or "/")
                same = running.st_nlink == 0 and running.st_dev == os.stat(folder).st_dev
                same = same and running.st_uid == 0 and not running.st_mode & 0o022
                paths.append(folder)
        except (OSError, ValueError):
            return False
        return same and all(map(userfiles.owned_by_root, paths))

    def _flatpak(self, process: Process) -> str:
        """The name in the sandbox's `.flatpak-info`, of what looks like one."""
        words = (process.exe, *process.argv[:2])
        if "FLATPAK_ID" not in process.env and not any(w.startswith("/app/") for w in words):
            return ""
        mounts = userfiles.Mounts.of(f"{self._root}/{process.pid}/mountinfo")
        where = "/.flatpak-info" if mounts.mounted_at("/.flatpak-info") else "/"
        if not mounts.answers(where):
            return ""
        raw = userfiles.read_in_root(f"{self._root}/{process.pid}/root", ".flatpak-info")
        found = re.search(rb"^name=([\w.-]{1,255})$", raw, re.M)
        return found[1].decode("ascii", "replace") if found else ""

    def has_render_node(self, pid: int) -> bool:
        """Return True if the process holds a GPU open."""
        return procfs.has_gpu(pid, self._root)

    def _optional(self, pid: int, name: str, limit: int) -> bytes:
        """Up to `limit` bytes of a file; empty if it cannot be read."""
        try:
            fd = os.open(f"{self._root}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            found = os.read(fd, min(limit, _FIRST_READ))
            while (
                len(found) >= _FIRST_READ
                and len(found) < limit
                and (more := os.read(fd, limit - len(found)))
            ):
                found += more
            return found
        except OSError:
            return b""
        finally:
            os.close(fd)

    def _link(self, pid: int, name: str) -> str:
        try:
            raw = os.readlink(os.fsencode(f"{self._root}/{pid}/{name}"))
        except OSError:
            return ""
        return raw.decode("utf-8", "backslashreplace")

    def _cgroup(self, pid: int) -> str:
        return procfs.cgroup_path(pid, self._root).decode("utf-8", "backslashreplace")


class Tree:
    """A set of processes and who started whom. Each change costs the same, whatever the number of siblings."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self._by_pid: dict[int, Process] = {}
        self._children: dict[int, dict[int, None]] = {}
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
        old = self._by_pid.get(process.pid)
        if old is not None:
            if old.ppid != process.ppid:
                self.remove(process.pid)
            else:
                self._text[old.uid] -= old.text_bytes
        size = process.text_bytes
        if self._text[process.uid] + size > MAX_TEXT_OF_USER and process.uid != 0:
            process = replace(process, argv=(), env={}, exe=process.exe[:_SHORT], cgroup="")
            size = process.text_bytes
        self._text[process.uid] += size
        self._by_pid[process.pid] = process
        self._children.setdefault(process.ppid, {})[process.pid] = None

    def remove(self, pid: int) -> None:
        old = self._by_pid.pop(pid, None)
        if old is None:
            return
        self._text[old.uid] -= old.text_bytes
        siblings = self._children.get(old.ppid)
        if siblings is not None:
            siblings.pop(pid, None)
            if not siblings:
                del self._children[old.ppid]

    def ancestors(self, process: Process) -> Iterator[Process]:
        """Parents first; a loop, which only a torn snapshot shows, ends it."""
        seen = {process.pid}
        parent = self._by_pid.get(process.ppid)
        while parent is not None and parent.pid not in seen:
            seen.add(parent.pid)
            yield parent
            parent = self._by_pid.get(parent.ppid)

    def children(self, pid: int) -> list[Process]:
        return [
            self._by_pid[child] for child in self._children.get(pid, ()) if child in self._by_pid
        ]

    def descendants(self, pid: int) -> Iterator[Process]:
        """Children before grandchildren; `pid` itself is not among them."""
        seen = {pid}
        queue = deque(self._children.get(pid, ()))
        while queue:
            child = queue.popleft()
            if child in seen or child not in self._by_pid:
                continue
            seen.add(child)
            yield self._by_pid[child]
            queue.extend(self._children.get(child, ()))
