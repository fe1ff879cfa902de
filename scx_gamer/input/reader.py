# SPDX-License-Identifier: GPL-2.0-or-later
"""One open evdev node: its event masks, batched reads, and the true state of keys and sticks."""

from __future__ import annotations

import array
import fcntl
import os
import struct
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from scx_gamer.input.acts import ABS_AXES, Axes, Limits, Source, acting, dead_permille
from scx_gamer.input.classify import ABS_X, EV_ABS, EV_KEY, EV_REL, Capabilities, Kind, Lane
from scx_gamer.input.held import Held, HeldState, held_axes
from scx_gamer.system.closing import FdOwner


def _ioc(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("E") << 8 | number


_KEY_BYTES = 0x300 // 8
_ABSINFO = struct.Struct("6i")  # value, minimum, maximum, fuzz, flat, resolution
_MASK = struct.Struct("IIQ")  # type, bytes of codes, address of codes
_EVENT = struct.Struct("llHHi")  # seconds, microseconds, type, code, value
_EVIOCGKEY = _ioc(2, 0x18, _KEY_BYTES)
_EVIOCGABS0 = _ioc(2, 0x40, _ABSINFO.size)
_EVIOCSMASK = _ioc(1, 0x93, _MASK.size)
_EVIOCSCLOCKID = _ioc(1, 0xA0, 4)
_F_SETOWN_EX, _F_OWNER_TID = 15, 0  # asm-generic/fcntl.h
_SYN_DROPPED = 3  # of type EV_SYN, which is 0

BATCH = 256  # events in one read: what one device may cost in one pass of the loop
MASK_NOTHING = 0  # no event wakes us; a hang-up still does
MASK_KEYS = 1 << EV_KEY
MASK_MOTION = 1 << EV_REL | 1 << EV_ABS


class Batch(NamedTuple):
    """One read: the number of events, whether some were lost, and when each source last acted."""

    events: int
    dropped: bool
    acted: Mapping[Source, int]


NO_BATCH = Batch(0, False, {})


def parse_batch(data: bytes, axes: Axes) -> Batch:
    """Return the count of raw input_event structs and the last act of each source. Codes do not leave here."""
    acted: dict[Source, int] = {}
    dropped = False
    whole = len(data) - len(data) % _EVENT.size
    for seconds, microseconds, kind, code, value in _EVENT.iter_unpack(data[:whole]):
        if not kind:
            dropped |= code == _SYN_DROPPED
        elif (source := acting(axes, kind, code, value)) is not None:
            acted[source] = seconds * 1_000_000_000 + microseconds * 1000
    if axes.silent:
        axes.end()
    return Batch(whole // _EVENT.size, dropped, acted)


class Reader(FdOwner):
    """Owns one open node. Every method but close() raises OSError, ENODEV after an unplug."""

    def __init__(self, node: str, kind: Kind, caps: Capabilities, lane: Lane = Lane.NONE) -> None:
        fd = os.open(node, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.set_mask(MASK_NOTHING, fd)
            fcntl.ioctl(fd, _EVIOCSCLOCKID, struct.pack("i", time.CLOCK_MONOTONIC))
            state = HeldState(kind, _limits(fd, held_axes(kind, caps)))
        except OSError:
            os.close(fd)
            raise
        self._state, self._caps = state, caps
        self._axes = Axes(lane, dead_permille(kind, lane))
        from scx_gamer.input import syscalls  # only who listens needs ctypes

        self._buffer = syscalls.Buffer(BATCH * _EVENT.size)
        self._fd = fd

    @property
    def has_axes(self) -> bool:
        """True if there is a stick or trigger to ask for: its rest shows in no event."""
        return bool(self._state.codes)

    @property
    def fd(self) -> int:
        if self._fd is None:
            raise ValueError("the reader is closed")
        return self._fd

    def set_mask(self, types: int, fd: int | None = None) -> None:
        """Let only these event types through; the others cause no wake-up and no work here."""
        # The kernel takes whole longs. Masking in EV_SYN's slot masks whole types.
        codes = array.array("Q", [types])
        address, _length = codes.buffer_info()
        fcntl.ioctl(self.fd if fd is None else fd, _EVIOCSMASK, _MASK.pack(0, 8, address))

    def listen(self) -> None:
        """Note where each axis is, before its events are read."""
        found = {
            code: _absinfo(self.fd, code) for code in sorted(self._caps.abs) if code < ABS_AXES
        }
        for code, info in found.items():
            self._axes.learn(code, _as_limits(info), info[0])
        self._axes.begin(_as_limits(found[ABS_X]) if ABS_X in found else Limits(0, 0))
        self.note_rest({code: info[0] for code, info in found.items()})

    def note_rest(self, values: Mapping[int, int]) -> None:
        """Take where the axes were before they were used."""
        self._state.note_rest(values)

    def interrupt(self) -> None:
        """Have SIGIO sent to this thread when there is something to read."""
        owner = struct.pack("ii", _F_OWNER_TID, threading.get_native_id())
        fcntl.fcntl(self.fd, _F_SETOWN_EX, owner)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, fcntl.fcntl(self.fd, fcntl.F_GETFL) | os.O_ASYNC)

    def read(self) -> Batch:
        """Read at most BATCH events; an empty batch if there are none."""
        data = self._buffer.read(self.fd)
        return parse_batch(data, self._axes) if data else NO_BATCH

    def moved(self) -> bool:
        """Return True if an axis acted while its events were masked."""
        acted = [self._axes.acts(code, _absinfo(self.fd, code)[0]) for code in self._axes.states]
        return any(acted)

    def held(self, now_ns: int) -> Held:
        """Ask the device itself which keys are down and which sticks are off their rest."""
        keys = int.from_bytes(fcntl.ioctl(self.fd, _EVIOCGKEY, bytes(_KEY_BYTES)), "little")
        values = {code: _absinfo(self.fd, code)[0] for code in self._state.codes}
        return self._state.update(now_ns, keys, values)


def _absinfo(fd: int, code: int) -> tuple[int, int, int, int, int, int]:
    data = fcntl.ioctl(fd, _EVIOCGABS0 + code, bytes(_ABSINFO.size))
    value, low, high, fuzz, flat, resolution = _ABSINFO.unpack(data)
    return value, low, high, fuzz, flat, resolution


def _as_limits(info: tuple[int, int, int, int, int, int]) -> Limits:
    _value, low, high, fuzz, flat, _resolution = info
    return Limits(low, high, fuzz, flat)


def _limits(fd: int, codes: frozenset[int]) -> dict[int, Limits]:
    return {code: _as_limits(_absinfo(fd, code)) for code in sorted(codes)}
