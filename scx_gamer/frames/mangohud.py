# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames from the log that MangoHud writes in a game.

MangoHud holds its log open and writes a row for each frame (src/logging.cpp, Logger::writeToFile(), since 0.6.9), so
the log is found among the descriptors of the game and opened through them: no folder of the player's is searched, and
a game in a container has it too. The unit may do so with its drop-in closed-files.conf. The file is the player's, hence
hostile: regular, of the game's user, on a file system that answers, bounded.
"""

from __future__ import annotations

import os
import time
from itertools import pairwise
from statistics import median

from scx_gamer.frames.mangohud_log import LogError, LogParser, Row
from scx_gamer.frames.model import Frame, FrameError, FrameGame
from scx_gamer.frames.stats import NS_PER_S
from scx_gamer.games import userfiles

MAX_PIDS, MAX_FDS = 64, 1024
MAX_BYTES = 256 * 1024  # a read; a log of 1000 frames a second grows by 100 KB
_HEAD_BYTES = 16 * 1024  # hold the header
_NS_PER_MS = 1e6
_SILENT_S = 5.0  # without a row, another source may know more: the player stopped the log, or the game presents nothing
_SPARSE = 1.5  # rows so many frame times apart are samples: log_interval is set


class MangoHudSource:
    """A log as it grows. The ends of frames are right within the time of one frame."""

    name = "mangohud"
    tells = "each present of the game, as MangoHud timed it inside the game"
    cannot_tell = "whether the screen showed the frame; generated frames count as frames"

    def __init__(self) -> None:
        self._fd = -1
        self._file = (0, 0)  # device and inode of the newest log
        self._at = 0
        self._grown_s = 0.0
        self._began_ns: int | None = None  # the log's begin, by CLOCK_MONOTONIC
        self._end_ns = 0  # of the newest frame
        self._log = LogParser()
        self._cut = False  # the next bytes begin within a line

    def open(self, game: FrameGame) -> None:
        """Find the log. Raises FrameError if no process of the game holds one open that can be read."""
        why = "the game holds no log of MangoHud open"
        for pid in sorted(game.pids, key=lambda pid: pid != game.pid)[:MAX_PIDS]:
            for number in _logs(pid):
                fd = userfiles.open_of_process(pid, number, game.uid)
                if fd < 0:
                    why = "the game's log is no regular file of its user's that can be read"
                elif self._begin(fd):
                    return
        raise FrameError(why, hint="log with MANGOHUD_CONFIG=autostart_log=1,log_interval=0")

    def _begin(self, fd: int) -> bool:
        """Read the header, or go on where an earlier read ended; close `fd` and return False if there is neither."""
        try:
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) == self._file:
                if found.st_size <= self._at:
                    raise LogError("nothing new")
                self._fd, self._grown_s = fd, time.monotonic()
                return True
            self._log, self._at = LogParser(), 0
            for line in os.pread(fd, _HEAD_BYTES, 0).splitlines(keepends=True):
                self._log.feed(line.decode("utf-8", "replace"))
                self._at += len(line)
                if self._log.has_header:
                    break
            else:
                raise LogError("no header")
        except (OSError, LogError):
            os.close(fd)
            return False
        self._file = found.st_dev, found.st_ino
        self._fd, self._cut, self._began_ns, self._end_ns = fd, False, None, 0
        self._grown_s = time.monotonic()
        return True

    def _skip_to(self, at: int) -> None:
        self._log.skip()
        self._at, self._cut = at, True

    def read(self) -> list[Frame]:
        """Return the frames logged since the last call, and at most MAX_BYTES of them. Raises FrameError."""
        if self._fd < 0:
            raise FrameError("the log of MangoHud is closed")
        try:
            size = os.fstat(self._fd).st_size
            if size < self._at:
                self._file = (0, 0)
                raise FrameError("the log of MangoHud was cut")
            if size - self._at > MAX_BYTES:
                self._skip_to(size - MAX_BYTES)
            data = os.pread(self._fd, MAX_BYTES, self._at)
            now_ns = time.monotonic_ns()
            if data:
                self._grown_s = now_ns / NS_PER_S
            elif now_ns / NS_PER_S - self._grown_s > _SILENT_S:
                raise FrameError("the log of MangoHud does not grow")
            rows = self._rows(data)
        except OSError as err:
            raise FrameError("the log of MangoHud cannot be read", errno=err.errno or 0) from err
        except LogError as err:
            self._file = (0, 0)
            raise FrameError(f"the log of MangoHud is damaged: {err}") from err
        return self._frames(rows, now_ns)

    def _rows(self, data: bytes) -> list[Row]:
        self._at += len(data)
        if self._cut:
            _, found, data = data.partition(b"\n")
            self._cut = not found
        return self._log.feed(data.decode("utf-8", "replace"))

    def _frames(self, rows: list[Row], now_ns: int) -> list[Frame]:
        if not rows:
            return []
        newest_ns = rows[-1].elapsed_ns
        if newest_ns is None:
            raise FrameError(
                "the log of MangoHud has no column 'elapsed'", hint="MangoHud 0.6.9 or later has it"
            )
        apart = [
            (b.elapsed_ns - a.elapsed_ns) / _NS_PER_MS / b.took_ms
            for a, b in pairwise(rows)
            if a.elapsed_ns is not None and b.elapsed_ns is not None
        ]
        if apart and median(apart) > _SPARSE:
            raise FrameError(
                "the log of MangoHud holds samples, not each frame", hint="set log_interval=0"
            )
        began_ns = now_ns - newest_ns
        self._began_ns = began_ns if self._began_ns is None else min(self._began_ns, began_ns)
        frames: list[Frame] = []
        for took_ms, elapsed_ns in rows:
            end_ns = max(self._end_ns, self._began_ns + (elapsed_ns or 0))
            self._end_ns = min(end_ns, now_ns)
            frames.append(Frame(self._end_ns, int(took_ms * _NS_PER_MS)))
        return frames

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _logs(pid: int) -> list[int]:
    """Return descriptors of a process whose file is called as a log, the newest first. Raises FrameError."""
    folder = f"/proc/{pid}/fd"
    found: list[int] = []
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(MAX_FDS), entries, strict=False):
                try:
                    target = os.readlink(entry.path)
                except OSError:
                    continue
                if target.endswith(".csv") and not target.endswith("_summary.csv"):
                    found.append(int(entry.name))
    except PermissionError as err:
        raise FrameError(
            "the files that the game has open cannot be read", hint="closed-files.conf lets them be"
        ) from err
    except OSError:  # it ended
        pass
    return sorted(found, reverse=True)
