# SPDX-License-Identifier: GPL-2.0-or-later
"""A copy of the supervisor's line for overlays, in the user's home: the containers of games see no /run/scx-gamer.

Steam's runtime shares the home with its container (ValveSoftware/steam-runtime,
doc/steamlinuxruntime-known-issues.md), and Flatpak shares a folder of it that it is told of.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from scx_gamer.agent.model import AgentError, Environment, Report
from scx_gamer.system import inotify
from scx_gamer.system.files import write_atomic

_MAX_LINE = 4096  # bytes that are read of the line
_GONE = inotify.DELETE_SELF | inotify.MOVE_SELF


def copy_of(env: Environment) -> Path:
    """Return the file of the copy."""
    cache = env.get("XDG_CACHE_HOME") or ""
    # a relative one is to be ignored: XDG Base Directory Specification
    folder = Path(cache) if os.path.isabs(cache) else Path(env["HOME"], ".cache")
    return folder / "scx-gamer/hud"


class OverlayLine:
    """Writes the copy whenever the line changes, and removes it when the supervisor has removed the line."""

    name = "overlay line"

    def __init__(self, line: Path, copy: Path) -> None:
        self._line, self._copy = line, copy

    async def run(self, report: Report) -> None:
        del report
        try:
            with inotify.Inotify() as watch:
                watch.add(self._line.parent, inotify.MOVED_TO | inotify.DELETE | _GONE)
                await self._follow(watch)
        except OSError as err:
            raise AgentError(f"cannot copy {self._line}: {err.strerror}", err.errno or 0) from err
        finally:
            with suppress(OSError):
                self._copy.unlink(missing_ok=True)

    async def _follow(self, watch: inotify.Inotify) -> None:
        """Copy the line until its folder is gone, because the supervisor's unit was stopped."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        self._copy.parent.mkdir(0o700, parents=True, exist_ok=True)
        loop.add_reader(watch.fileno(), changed.set)
        try:
            copied = b""
            while True:
                copied = self._update(copied)
                await changed.wait()
                changed.clear()
                with suppress(BlockingIOError):
                    if any(event.mask & _GONE for event in watch.read()):
                        raise AgentError(f"{self._line.parent} is gone: no supervisor runs")
        finally:
            loop.remove_reader(watch.fileno())

    def _update(self, copied: bytes) -> bytes:
        """Bring the copy from `copied` to the line as it is; empty without one. Return what is copied now."""
        try:
            with open(self._line, "rb") as file:
                line = file.read(_MAX_LINE)
        except FileNotFoundError:
            line = b""
        if line == copied:
            return line
        if line:
            write_atomic(self._copy, line, 0o600, sync=False)
        else:
            self._copy.unlink(missing_ok=True)
        return line
