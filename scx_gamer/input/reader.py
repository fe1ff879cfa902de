# SPDX-License-Identifier: GPL-2.0-only
"""One open evdev node: its event masks, batched reads, and the true state of keys and sticks."""

from __future__ import annotations

import array
import fcntl
import os
import struct
import threading
import time
from dataclasses import dataclass

from scx_gamer.input.classify import (
    ABS_HAT0X,
    ABS_HAT3Y,
    ABS_RX,
    ABS_RY,
    ABS_RZ,
    ABS_X,
    ABS_Y,
    ABS_Z,
    BTN_TOUCH,
    EV_ABS,
    EV_KEY,
    EV_REL,
    Capabilities,
    Kind,
)
from scx_gamer.input.devices import read_capabilities


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
_SYN_DROPPED = struct.pack("HH", 0, 3)

BATCH = 256  # events in one read: what one device may cost in one pass of the loop
MASK_NOTHING = 0  # no event wakes us; a hang-up still does
MASK_KEYS = 1 << EV_KEY
MASK_MOTION = 1 << EV_REL | 1 << EV_ABS
MASK_ALL = MASK_KEYS | MASK_MOTION

# Which tool touches a pad is no held key: only the touch itself counts.
_HELD_KEYS = ((1 << _KEY_BYTES * 8) - 1) & ~sum(
    1 << code for code in range(0x140, 0x150) if code != BTN_TOUCH
)
# A gear shifter, a toggle switch, a parked stick: these kinds rest in any position, so a state
# that has not changed for this long is rest.
REST_NS = 10_000_000_000
_RESTS_ANYWHERE = frozenset({Kind.WHEEL, Kind.JOYSTICK})


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis that returns to `rest` (times two, so that a centre between steps is exact)."""

    code: int
    rest2: int
    reach2: int

    def off(self, value: int) -> bool:
        return abs(2 * value - self.rest2) > self.reach2


@dataclass(frozen=True, slots=True)
class Held:
    """What of a device is off its rest."""

    keys: bool = False
    axes: bool = False

    def __bool__(self) -> bool:
        return self.keys or self.axes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read brought: how many events, when the last was, whether some were lost."""

    count: int
    last_ns: int
    dropped: bool


def make_axis(code: int, minimum: int, maximum: int, flat: int, *, trigger: bool) -> Axis | None:
    """The axis' rest and how far off it counts: beyond `flat` and beyond 10 % of its way."""
    if maximum <= minimum:
        return None
    way2 = (2 if trigger else 1) * (maximum - minimum)
    rest2 = 2 * minimum if trigger else minimum + maximum
    return Axis(code, rest2, max(2 * flat, way2 // 10))


def spring_axes(kind: Kind, codes: frozenset[int]) -> dict[int, bool]:
    """The axes that return by themselves: code -> whether it is a trigger (rests at minimum)."""
    if kind not in (Kind.GAMEPAD, Kind.WHEEL, Kind.JOYSTICK):
        return {}
    sticks = {ABS_X, ABS_Y, ABS_RX, ABS_RY, *range(ABS_HAT0X, ABS_HAT3Y + 1)}
    axes = dict.fromkeys(sorted(sticks & codes), False)
    if kind is Kind.GAMEPAD:
        # With a right stick on RX and RY these are triggers, else they are the right stick.
        triggers = {ABS_RX, ABS_RY} <= codes
        axes |= {code: triggers for code in (ABS_Z, ABS_RZ) if code in codes}
    return axes


def parse_batch(data: bytes) -> Batch:
    """Count and last stamp of raw input_event structs. Codes are not looked at."""
    count = len(data) // _EVENT.size
    if not count:
        return Batch(0, 0, False)
    seconds, microseconds, _type, _code, _value = _EVENT.unpack_from(
        data, (count - 1) * _EVENT.size
    )
    # Only the type and code of SYN_DROPPED: one search over the bytes, and a look at the
    # alignment of a hit, instead of an object for each event.
    offset, at = _EVENT.size - 8, data.find(_SYN_DROPPED)
    while at >= 0 and at % _EVENT.size != offset:
        at = data.find(_SYN_DROPPED, at + 1)
    return Batch(count, seconds * 1_000_000_000 + microseconds * 1000, at >= 0)


class Reader:
    """Owns one open node. Every method but close() raises OSError, ENODEV after an unplug."""

    def __init__(self, node: str, kind: Kind, caps: Capabilities) -> None:
        self._fd: int | None = None
        fd = os.open(node, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.set_mask(MASK_NOTHING, fd)
            fcntl.ioctl(fd, _EVIOCSCLOCKID, struct.pack("i", time.CLOCK_MONOTONIC))
            axes = []
            for code, trigger in spring_axes(kind, caps.abs).items():
                _value, low, high, _fuzz, flat, _res = self._absinfo(fd, code)
                axis = make_axis(code, low, high, flat, trigger=trigger)
                if axis is not None:
                    axes.append(axis)
        except OSError:
            os.close(fd)
            raise
        self._axes = tuple(axes)
        self._rests_anywhere = kind in _RESTS_ANYWHERE
        from scx_gamer.input import syscalls  # only a listener needs ctypes

        self._buffer = syscalls.Buffer(BATCH * _EVENT.size)
        self._state: tuple[int, ...] | None = None
        self._since_ns = 0
        self._fd = fd

    @property
    def has_axes(self) -> bool:
        """Whether there is a stick or trigger to ask for: its rest shows in no event."""
        return bool(self._axes)

    @property
    def fd(self) -> int:
        if self._fd is None:
            raise ValueError("the reader is closed")
        return self._fd

    @staticmethod
    def _absinfo(fd: int, code: int) -> tuple[int, int, int, int, int, int]:
        data = fcntl.ioctl(fd, _EVIOCGABS0 + code, bytes(_ABSINFO.size))
        value, low, high, fuzz, flat, resolution = _ABSINFO.unpack(data)
        return value, low, high, fuzz, flat, resolution

    def set_mask(self, types: int, fd: int | None = None) -> None:
        """Let only these event types through; the others cause no wake-up and no work here."""
        # The kernel takes whole longs. Masking in EV_SYN's slot masks whole types.
        codes = array.array("Q", [types])
        address, _length = codes.buffer_info()
        fcntl.ioctl(self.fd if fd is None else fd, _EVIOCSMASK, _MASK.pack(0, 8, address))

    def interrupt(self) -> None:
        """Have SIGIO sent to this thread when there is something to read."""
        owner = struct.pack("ii", _F_OWNER_TID, threading.get_native_id())
        fcntl.fcntl(self.fd, _F_SETOWN_EX, owner)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, fcntl.fcntl(self.fd, fcntl.F_GETFL) | os.O_ASYNC)

    def read(self) -> Batch:
        """At most BATCH events; an empty batch when there are none."""
        data = self._buffer.read(self.fd)
        return parse_batch(data) if data else Batch(0, 0, False)

    def held(self, now_ns: int) -> Held:
        """Whether a key is down or a stick off its rest, asked from the device itself."""
        keys = int.from_bytes(fcntl.ioctl(self.fd, _EVIOCGKEY, bytes(_KEY_BYTES)), "little")
        values = [self._absinfo(self.fd, axis.code)[0] for axis in self._axes]
        keys &= _HELD_KEYS
        off = any(axis.off(value) for axis, value in zip(self._axes, values, strict=True))
        held = Held(keys != 0, off)
        if not self._rests_anywhere:
            return held
        state = (keys, *values)
        if state != self._state:
            self._state, self._since_ns = state, now_ns
        return held if now_ns - self._since_ns < REST_NS else Held()

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def open_reader(node: str, kind: Kind, device: str) -> Reader:
    """Open the node of /sys/class/input/inputN; raises OSError."""
    return Reader(node, kind, read_capabilities(device))
