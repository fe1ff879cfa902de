# SPDX-License-Identifier: GPL-2.0-or-later
"""Two calls of libc that never wait, made without letting go of the interpreter.

Where another thread is busy, each call that lets go waits to have it again: several times the cost of the call.
"""

from __future__ import annotations

import ctypes as C
import errno
import os

READY = 64  # descriptors in one answer


class _Event(C.Structure):
    """`struct epoll_event`; one machine packs it."""

    if os.uname().machine == "x86_64":
        _pack_ = 1
        _layout_ = "ms"
    _fields_ = (("events", C.c_uint32), ("data", C.c_uint64))


_libc = C.PyDLL(None, use_errno=True)
_epoll_wait = _libc["epoll_wait"]
_epoll_wait.argtypes = [C.c_int, C.POINTER(_Event), C.c_int, C.c_int]
_read = _libc["read"]
_read.argtypes, _read.restype = [C.c_int, C.c_void_p, C.c_size_t], C.c_ssize_t
_events = (_Event * READY)()


def ready(epoll: int) -> list[tuple[int, int]]:
    """Return the ready descriptors of an epoll, with their flags. Python registered them, so data is the fd."""
    count = _epoll_wait(epoll, _events, READY, 0)
    if count < 0:
        number = C.get_errno()
        if number == errno.EINTR:
            return []
        raise OSError(number, os.strerror(number))
    return [(one.data & 0xFFFFFFFF, one.events) for one in _events[:count]]


class Buffer:
    """The buffer of reads of one descriptor."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._memory = C.create_string_buffer(size)

    def read(self, fd: int) -> bytes:
        """Read a non-blocking descriptor; empty if it has no data. Raises OSError."""
        count = _read(fd, self._memory, self._size)
        if count >= 0:
            return C.string_at(self._memory, count)
        number = C.get_errno()
        if number in (errno.EAGAIN, errno.EINTR):
            return b""
        raise OSError(number, os.strerror(number))
