# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's inotify, of which Python's own library has nothing and Debian packages no maintained binding."""

from __future__ import annotations

import ctypes as C
import os
import struct
from dataclasses import dataclass
from pathlib import Path

# include/uapi/linux/inotify.h
ATTRIB, CLOSE_WRITE = 0x4, 0x8
MOVED_FROM, MOVED_TO = 0x40, 0x80
CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x100, 0x200, 0x400, 0x800
Q_OVERFLOW, ONLYDIR, ISDIR = 0x4000, 0x01000000, 0x40000000

_HEADER = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_READ = 65536  # many events; one has a name of at most 256 bytes


@dataclass(frozen=True)
class Event:
    mask: int
    name: str


class Inotify:
    """A queue of events from construction to close(). Methods raise OSError."""

    def __init__(self) -> None:
        libc = C.CDLL(None, use_errno=True)
        self._add = libc.inotify_add_watch
        self._add.argtypes = (C.c_int, C.c_char_p, C.c_uint32)
        self._remove = libc.inotify_rm_watch
        self._remove.argtypes = (C.c_int, C.c_int)
        self._fd: int | None = _checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        if self._fd is None:
            raise ValueError("closed")
        return self._fd

    def add(self, path: Path, mask: int) -> int:
        """Watch a file or folder; the number of the watch, the same for the same file."""
        return _checked(self._add(self.fileno(), os.fsencode(path), mask))

    def remove(self, watch: int) -> None:
        _checked(self._remove(self.fileno(), watch))

    def read(self) -> list[Event]:
        """What happened since; BlockingIOError when nothing did."""
        data = os.read(self.fileno(), _READ)
        found, at = [], 0
        while at < len(data):
            _watch, mask, _cookie, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            found.append(Event(mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
            at += length
        return found

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> Inotify:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(result: int) -> int:
    if result < 0:
        number = C.get_errno()
        raise OSError(number, os.strerror(number))
    return result
