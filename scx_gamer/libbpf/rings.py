# SPDX-License-Identifier: GPL-2.0-or-later
"""The BPF ring buffers: events from the kernel, and messages to it."""

from __future__ import annotations

import ctypes as C
import errno
import logging
from collections.abc import Callable
from typing import ClassVar

from scx_gamer.libbpf._native import RING_FN, native
from scx_gamer.libbpf.errors import BpfError
from scx_gamer.libbpf.object import Map
from scx_gamer.system.closing import Closing

log = logging.getLogger(__name__)


class RingBuffer(Closing):
    """The consumer of a ring buffer. `epoll_fd` is readable while records are queued."""

    def __init__(self, source: Map, callback: Callable[[bytes], None]) -> None:
        self._callback = callback
        self._left = 0
        self._seen = 0
        self.failures = 0  # exceptions that a callback raised
        # keeps the callback alive: libbpf holds only its address
        self._function = RING_FN(self._on_record)
        self._handle = native().pointer(
            f"reading {source.name}", "ring_buffer__new", source.fd, self._function, None, None
        )
        self.epoll_fd = int(native()("ring_buffer__epoll_fd", self._handle))

    def _on_record(self, _context: int, data: int, size: int) -> int:
        self._left -= 1
        self._seen += 1
        try:
            self._callback(C.string_at(data, size))
        except Exception:  # an exception that leaves a ctypes callback returns garbage to libbpf
            self.failures += 1
            log.exception("handler of a BPF event failed")
        # A negative result ends the batch, and libbpf counts that record as consumed: return it with the last one.
        return 0 if self._left > 0 else -errno.EAGAIN

    def consume(self, limit: int = 256) -> int:
        """Pass at most `limit` records to the callback as bytes and return their number. Raises BpfError.

        Records that are left make `epoll_fd` readable again at the next poll.
        """
        if not self._handle:
            raise BpfError("the ring is closed")
        self._left, self._seen = max(limit, 1), 0
        result = int(native()("ring_buffer__consume", self._handle))
        if result < 0 and result != -errno.EAGAIN:
            raise BpfError("cannot read the event ring", -result)
        return self._seen

    def close(self) -> None:
        handle, self._handle = self._handle, 0
        if handle:
            native()("ring_buffer__free", handle)


class UserRing(Closing):
    """The only producer of a user ring buffer. A second one on the same map would corrupt it, and libbpf permits it."""

    _taken: ClassVar[set[tuple[int, str]]] = set()

    def __init__(self, target: Map) -> None:
        self._key = (id(target._owner), target.name)
        if self._key in self._taken:
            raise BpfError(f"map {target.name} already has a producer")
        self._handle = native().pointer(
            f"writing {target.name}", "user_ring_buffer__new", target.fd, None
        )
        self._taken.add(self._key)

    def send(self, data: bytes) -> bool:
        """Append a record. Return False if the ring is full. Raises BpfError."""
        if not self._handle:
            raise BpfError("the ring is closed")
        place = native()("user_ring_buffer__reserve", self._handle, len(data))
        if not place:
            if C.get_errno() != errno.ENOSPC:
                raise BpfError("cannot write the control ring", C.get_errno())
            return False
        # not ctypes.memmove, which releases the GIL
        (C.c_char * len(data)).from_address(place).raw = data
        native()("user_ring_buffer__submit", self._handle, place)
        return True

    def close(self) -> None:
        handle, self._handle = self._handle, 0
        if handle:
            self._taken.discard(self._key)
            native()("user_ring_buffer__free", handle)
