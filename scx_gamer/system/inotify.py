# SPDX-License-Identifier: GPL-2.0-or-later
"""Binding of inotify(7) through libc. Python's library has none, and Debian packages no maintained one."""

from __future__ import annotations

import ctypes as C
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.system.closing import FdOwner

# include/uapi/linux/inotify.h
ATTRIB, CLOSE_WRITE, OPEN = 0x4, 0x8, 0x20
MOVED_FROM, MOVED_TO = 0x40, 0x80
CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x100, 0x200, 0x400, 0x800
Q_OVERFLOW, ONLYDIR, ISDIR = 0x4000, 0x01000000, 0x40000000

_HEADER = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_READ = 65536  # room for many events: the name of one has at most NAME_MAX + 1 = 256 bytes


@dataclass(frozen=True)
class Event:
    """One event: the bits that are set in its mask, and the name of the entry in a watched directory."""

    mask: int
    name: str


class Inotify(FdOwner):
    """An inotify instance, open from construction to close(). Methods raise OSError."""

    def __init__(self) -> None:
        libc = C.CDLL(None, use_errno=True)
        self._add = libc.inotify_add_watch
        self._add.argtypes = (C.c_int, C.c_char_p, C.c_uint32)
        self._remove = libc.inotify_rm_watch
        self._remove.argtypes = (C.c_int, C.c_int)
        self._fd = _checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        if self._fd is None:
            raise ValueError("the inotify instance is closed")
        return self._fd

    def add(self, path: Path, mask: int) -> int:
        """Watch a file or directory. Return its watch descriptor, which is the same for the same inode."""
        return _checked(self._add(self.fileno(), os.fsencode(path), mask))

    def remove(self, watch: int) -> None:
        """Remove a watch by its descriptor."""
        _checked(self._remove(self.fileno(), watch))

    def read(self) -> list[Event]:
        """Return the queued events. Raises BlockingIOError when there are none."""
        data = os.read(self.fileno(), _READ)
        found, at = [], 0
        while at < len(data):
            _watch, mask, _cookie, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            found.append(Event(mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
            at += length
        return found


def _checked(result: int) -> int:
    if result < 0:
        number = C.get_errno()
        raise OSError(number, os.strerror(number))
    return result
