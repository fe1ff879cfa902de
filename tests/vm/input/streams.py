# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports of devices that lie on a table, and the act that follows, through uinput."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evdev import AbsInfo, UInput, ecodes

from tests.vm.input.devices import VENDOR

_EVENT = struct.Struct("llHHi")
KEY, REL, ABS, SYN = ecodes.EV_KEY, ecodes.EV_REL, ecodes.EV_ABS, ecodes.EV_SYN
PAD_KEYS = (*range(0x130, 0x132), 0x133, 0x134, *range(0x136, 0x13F))
X, Y, Z, RX, RY, RZ, THROTTLE, HAT0X, HAT0Y, HAT2X, HAT2Y = 0, 1, 2, 3, 4, 5, 6, 16, 17, 20, 21
PRESSURE, DISTANCE, TILT_X, TILT_Y = range(0x18, 0x1C)
Event = tuple[int, int, int]  # type, code, value
# value at rest, minimum, maximum, fuzz, flat
Axis = tuple[int, int, int, int, int]
STICK8, TRIGGER8, HAT = (128, 0, 255, 0, 0), (0, 0, 255, 0, 0), (0, -1, 1, 0, 0)


@dataclass(frozen=True)
class Stream:
    """A device at rest: report number i has each key as it is, and each axis `noise(i)` from its rest."""

    name: str
    source: str
    axes: dict[int, Axis]
    noise: Callable[[int], int]
    noisy: Sequence[int]
    act: Event
    keys: Sequence[int] = PAD_KEYS
    motion: Sequence[int] = ()  # relative axes, reported as 0
    lane: str = "GAMEPAD"

    def open(self) -> UInput:
        """Make the device."""
        infos = [(code, AbsInfo(*one, 0)) for code, one in self.axes.items()]
        events: dict[int, Any] = {KEY: list(self.keys), REL: list(self.motion), ABS: infos}
        used = {kind: codes for kind, codes in events.items() if codes}
        return UInput(used, name=self.name, vendor=VENDOR)

    def report(self, number: int) -> list[Event]:
        """All controls, as drivers report them whether they changed or not."""
        values = {code: one[0] for code, one in self.axes.items()}
        for code in self.noisy:
            values[code] += self.noise(number + code)
        return [
            *((ABS, code, value) for code, value in values.items()),
            *((REL, code, 0) for code in self.motion),
            *((KEY, code, 0) for code in self.keys),
        ]


def send(device: UInput, events: Sequence[Event]) -> None:
    """Write one report at once, as a driver's interrupt does."""
    rows = [*events, (SYN, 0, 0)]
    os.write(device.fd, b"".join(_EVENT.pack(0, 0, *row) for row in rows))


def steps(*values: int) -> Callable[[int], int]:
    return lambda number: values[number * 7 % len(values)]


IDLE = [
    Stream("DualSense", "hid-playstation.c: every control in every report",
           dict.fromkeys((X, Y, RX, RY), STICK8) | dict.fromkeys((Z, RZ), TRIGGER8) | {HAT0X: HAT, HAT0Y: HAT},
           steps(0), (), (ABS, X, 255)),
    Stream("pad that has reported nothing", "absinfo.value is 0 until a HID device's first report",
           dict.fromkeys((X, Y, RX, RY), (0, 0, 255, 0, 15)), steps(128), (X, Y, RX, RY), (ABS, X, 255)),
    Stream("pad whose noise is below its fuzz", "xpad.c: fuzz 16, flat 128",
           {code: (at, -32768, 32767, 16, 128) for code, at in ((X, 900), (Y, -200), (RX, 40), (RY, 0))}
           | dict.fromkeys((Z, RZ), TRIGGER8), steps(0, 4, -5, 3, -2), (X, Y, RX, RY), (ABS, Y, -32768)),
    Stream("pad with a worn stick", "fuzz 250, flat 500 of hid-nintendo.c",
           dict.fromkeys((X, Y, RX, RY), (0, -32767, 32767, 250, 500)),
           steps(0, 600, -500, 300, -250), (X, Y), (ABS, RX, 32767)),
    Stream("arcade encoder", "github.com/Vegz78/McAirpos issue 10: 128 to 133",
           {X: STICK8, Z: (130, 0, 255, 0, 0)}, steps(3, -2, 0, 2, -1, 1), (Z,), (ABS, X, 0), keys=(0x120, 0x121)),
    Stream("throttle", "github.com/ardaku/stick issue 8: 512 to 520",
           {X: (512, 0, 1023, 3, 15), Y: (512, 0, 1023, 3, 15), THROTTLE: (300, 0, 1023, 3, 15)},
           steps(0, 6, 2, 8, 0, 7), (X, THROTTLE), (ABS, THROTTLE, 400), keys=(0x120, 0x121)),
    Stream("Nunchuk", "hid-wiimote-modules.c: accelerometer, fuzz 2, flat 4",
           dict.fromkeys((HAT0X, HAT0Y), (0, -120, 120, 2, 4)) | dict.fromkeys((RX, RY, RZ), (100, -500, 500, 2, 4)),
           steps(0, 5, -6, 3, -4), (RX, RY, RZ), (ABS, HAT0X, 110), keys=(0x132, 0x135)),
    Stream("Deck", "hid-steam.c: no fuzz, triggers on HAT2",
           dict.fromkeys((X, Y, RX, RY), (0, -32767, 32767, 0, 0)) | dict.fromkeys((HAT2X, HAT2Y), (0, 0, 32767, 0, 0)),
           steps(0, 400, -350, 250, -120), (X, Y, RX, RY, HAT2X), (ABS, HAT2Y, 32767)),
    Stream("handheld's sticks", "adc-joystick.c: no key, raw readings",
           dict.fromkeys((X, Y, RX, RY), (1700, 180, 3700, 8, 32)),
           steps(0, 30, -25, 12, -40), (X, Y, RX, RY), (ABS, RY, 3600), keys=()),
    Stream("wheel with pedals", "hid-lg4ff.c: pedals of eight bits rest at 255, rim of sixteen",
           {X: (32767, 0, 65535, 0, 0), Y: (252, 0, 255, 0, 0), Z: (252, 0, 255, 0, 0), RZ: (252, 0, 255, 0, 0)},
           steps(0, 2, -3, 3, -1), (Y, Z, RZ), (ABS, X, 34000), keys=(0x120, 0x121, 0x150, 0x151)),
    Stream("pen left on its tablet", "wacom_wac.c: fuzz 4; 180 degrees of tilt in one step each, distance to 63",
           {X: (7000, 0, 15200, 4, 0), Y: (5000, 0, 9500, 4, 0), PRESSURE: (0, 0, 1023, 0, 0),
            DISTANCE: (20, 0, 63, 0, 0), TILT_X: (5, -90, 90, 0, 0), TILT_Y: (-8, -90, 90, 0, 0)},
           steps(0, 3, -3, 2, -1), (X, Y, DISTANCE, TILT_X, TILT_Y), (ABS, X, 7100),
           keys=(0x140, 0x14A, 0x14B), lane="MOUSE"),
    Stream("mouse that lies", "hid-input.c: each button and a motion of 0 in each report",
           {}, steps(0), (), (REL, 0, 1), keys=(0x110, 0x111, 0x112), motion=(0, 1, 8), lane="MOUSE"),
    Stream("keyboard", "hid-input.c: each key of the bitmap in each report of an NKRO keyboard",
           {}, steps(0), (), (KEY, 17, 1), keys=range(1, 0x60), lane="KEYBOARD"),
]  # fmt: skip
