# SPDX-License-Identifier: GPL-2.0-or-later
"""The game that is tuned: its key, its version, and the profile that is its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime

from scx_gamer.games import records
from scx_gamer.games.userfiles import Mounts
from scx_gamer.profiles import Game
from scx_gamer.system import procfs
from scx_gamer.system.text import printable
from scx_gamer.tune.store import MAX_TEXT

_MAX_CMDLINE = 128 << 10
_MAX_VERSION = 100


@dataclass(frozen=True)
class Subject:
    """A game by its AppID, or by the file name of its program where it has none."""

    name: str
    app_id: int
    program: str  # printable; empty with an AppID
    version: str

    @property
    def key(self) -> str:
        return f"appid {self.app_id}" if self.app_id else f"exe {self.program}"


def subject_of(pid: int, name: str, app_id: str) -> Subject:
    """Return the game whose main process is `pid`. Its version is unknown where /proc does not tell it."""
    number = int(app_id) if app_id.isdecimal() and len(app_id) <= 20 else 0
    exe = procfs.link(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    argv = _argv(pid)
    windows = next((word for word in argv if word.lower().endswith(".exe")), "")
    programs = sorted(
        Game(0, exe, argv).programs(), key=lambda one: not one.lower().endswith(".exe")
    )
    program = "" if number else printable(programs[0] if programs else name, MAX_TEXT - len("exe "))
    paths = (records.path_of(windows), exe, procfs.link(f"/proc/{pid}/cwd") + "/")
    version = ""
    if number:
        mounts = Mounts.of()
        builds = (records.steam_build(path, number, mounts) for path in paths)
        version = next((f"Steam build {build}" for build in builds if build), "")
    if not version:
        version = _file_version(records.path_of(windows)) or _file_version(f"/proc/{pid}/exe")
    return Subject(name, number, program, version[:_MAX_VERSION])


def _argv(pid: int) -> tuple[str, ...]:
    try:
        words = procfs.read(pid, "cmdline", limit=_MAX_CMDLINE).split(b"\0")
    except OSError:
        return ()
    return tuple(word.decode("utf-8", "replace") for word in words)


def _file_version(path: str) -> str:
    """Return size and date of a program; empty if it is unreadable."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    changed = datetime.fromtimestamp(found.st_mtime, UTC).isoformat(timespec="seconds")
    return f"program of {found.st_size} bytes from {changed}"
