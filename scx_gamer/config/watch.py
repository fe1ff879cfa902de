# SPDX-License-Identifier: GPL-2.0-or-later
"""Inotify watch on configuration directories: one callback once their TOML files have settled after a change."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from scx_gamer.system import inotify
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.loop import NO_TIMER, Loop

log = logging.getLogger(__name__)

QUIET_S = 0.2  # without events; editors write a file in several steps
LONGEST_S = 2.0  # after the first event, even while files keep changing
_MAX_FOLDERS = 256
_MASK = (
    inotify.CLOSE_WRITE | inotify.MOVED_TO | inotify.MOVED_FROM | inotify.CREATE | inotify.DELETE
    | inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.ATTRIB | inotify.ONLYDIR
)  # fmt: skip
_FOLDER_MASK = inotify.ISDIR | inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.Q_OVERFLOW


class WatchError(ScxGamerError):
    """A watch that could not be created: what failed, errno, what to do."""


class FolderWatch:
    """A watch, active until close(). For a directory that does not exist, its nearest existing parent is watched."""

    def __init__(
        self, loop: Loop, folders: Callable[[], Iterable[Path]], on_change: Callable[[], None]
    ) -> None:
        """Start watching. Raises WatchError. `folders` is called again after each change."""
        self._loop = loop
        self._folders = folders
        self._on_change = on_change
        self._watched: dict[Path, int] = {}
        self._timer = NO_TIMER
        self._first_ns = 0
        self.changes = 0
        with ExitStack() as stack:
            try:
                notify = stack.enter_context(inotify.Inotify())
            except OSError as err:
                hint = "raise fs.inotify.max_user_instances; until then changes need SIGHUP"
                raise WatchError(
                    f"cannot create an inotify instance: {err.strerror}", err.errno or 0, hint
                ) from err
            self._notify = notify
            loop.add_fd(notify.fileno(), self._on_readable, name="configuration folders")
            stack.callback(loop.remove_fd, notify.fileno())
            stack.callback(lambda: self._timer.cancel())
            self._arm()
            self._stack = stack.pop_all()

    def _arm(self) -> None:
        """Add and remove watches so that they match the current directories."""
        wanted: set[Path] = set()
        for folder in list(self._folders())[:_MAX_FOLDERS]:
            while not folder.is_dir() and folder != folder.parent:
                folder = folder.parent
            wanted.add(folder)
        for folder in self._watched.keys() - wanted:
            self._forget(folder)
        for folder in sorted(wanted):
            try:
                self._watched[folder] = self._notify.add(folder, _MASK)
            except OSError as err:
                self._watched.pop(folder, None)
                log.warning("cannot watch %s: %s", folder, err.strerror)

    def _forget(self, folder: Path) -> None:
        number = self._watched.pop(folder)
        if number in self._watched.values():  # two paths of one directory share a watch
            return
        try:
            self._notify.remove(number)
        except OSError as err:  # the kernel removes the watch of a deleted directory
            log.debug("cannot remove the watch on %s: %s", folder, err.strerror)

    def _on_readable(self, _fd: int) -> None:
        try:
            events = self._notify.read()
        except BlockingIOError:
            return
        relevant = [e for e in events if e.mask & _FOLDER_MASK or e.name.endswith(".toml")]
        if not relevant:
            return
        now = self._loop.now_ns()
        if not self._timer.pending:
            self._first_ns = now
        self._timer.cancel()
        left = LONGEST_S - (now - self._first_ns) / 1e9
        self._timer = self._loop.call_later(
            min(QUIET_S, max(0.0, left)), self._settled, name="configuration settled"
        )

    def _settled(self) -> None:
        self.changes += 1
        self._arm()
        self._on_change()

    def close(self) -> None:
        self._stack.close()


def with_subfolders(folders: Iterable[Path]) -> list[Path]:
    """Return the directories and their NAME.toml.d subdirectories."""
    found: list[Path] = []
    for folder in folders:
        found.append(folder)
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError:  # it does not exist (yet)
            continue
        found.extend(Path(e.path) for e in entries if e.name.endswith(".toml.d") and e.is_dir())
    return found
