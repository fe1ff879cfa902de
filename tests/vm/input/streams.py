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
KEY, ABS, SYN = ecodes.EV_KEY, ecodes.EV_ABS, ecodes.EV_SYN
PAD_KEYS = (*range(0x130, 0x132), 0x133, 0x134, *range(0x136, 0x13F))
X, Y, Z, RX, RY, RZ, THROTTLE, HAT0X, HAT0Y, HAT2X, HAT2Y = 0, 1, 2, 3, 4, 5, 6, 16, 17, 20, 21
# value at rest, minimum, maximum, fuzz, flat
Axis = tuple[int, int, int, int, int]
STICK8, TRIGGER8, HAT = (128, 0, 255, 0, 0), (0, 0, 255, 0, 0), (0, -1, 1, 0, 0)
STICK16: Axis = (0, -32768, 32767, 16, 128)


@dataclass(frozen=True)
class Stream:
    """A device at rest: report number i has each key as it is, and each axis `noise(i)` from its rest."""

    name: str
    source: str
    axes: dict[int, Axis]
    noise: Callable[[int], int]
    noisy: Sequence[int]
    act: tuple[int, int]  # axis and value
    keys: Sequence[int] = PAD_KEYS

    def open(self) -> UInput:
        """Make the device."""
        infos = [(code, AbsInfo(*one, 0)) for code, one in self.axes.items()]
        events: dict[int, Any] = {KEY: list(self.keys), ABS: infos}
        return UInput(events, name=self.name, vendor=VENDOR)

    def report(self, number: int) -> list[tuple[int, int, int]]:
        """All controls, as drivers report them whether they changed or not."""
        values = {code: one[0] for code, one in self.axes.items()}
        for code in self.noisy:
            values[code] += self.noise(number + code)
        return [(ABS, code, value) for code, value in values.items()] + [
            (KEY, code, 0) for code in self.keys
        ]


def send(device: UInput, events: Sequence[tuple[int, int, int]]) -> None:
    """Write one report at once, as a driver's interrupt does."""
    rows = [*events, (SYN, 0, 0)]
    os.write(device.fd, b"".join(_EVENT.pack(0, 0, *row) for row in rows))


def steps(*values: int) -> Callable[[int], int]:
    return lambda number: values[number * 7 % len(values)]


FOUR_STICKS = dict.fromkeys((X, Y, RX, RY), STICK16)
IDLE = [
    Stream("DualSense", "hid-playstation.c: every control in every report",
           dict.fromkeys((X, Y, RX, RY), STICK8) | dict.fromkeys((Z, RZ), TRIGGER8) | {HAT0X: HAT, HAT0Y: HAT},
           steps(0), (), (X, 255)),
    Stream("pad whose noise is below its fuzz", "xpad.c: fuzz 16, flat 128",
           FOUR_STICKS | dict.fromkeys((Z, RZ), TRIGGER8), steps(0, 4, -5, 3, -2), (X, Y, RX, RY), (Y, -32768)),
    Stream("pad with a worn stick", "fuzz 250, flat 500 of hid-nintendo.c",
           dict.fromkeys((X, Y, RX, RY), (0, -32767, 32767, 250, 500)),
           steps(0, 600, -500, 300, -250), (X, Y), (RX, 32767)),
    Stream("arcade encoder", "github.com/Vegz78/McAirpos issue 10: 128 to 133",
           {X: STICK8, Z: (130, 0, 255, 0, 0)}, steps(3, -2, 0, 2, -1, 1), (Z,), (X, 0), keys=(0x120, 0x121)),
    Stream("throttle", "github.com/ardaku/stick issue 8: 512 to 520",
           {X: (512, 0, 1023, 3, 15), Y: (512, 0, 1023, 3, 15), THROTTLE: (300, 0, 1023, 3, 15)},
           steps(0, 6, 2, 8, 0, 7), (X, THROTTLE), (THROTTLE, 400), keys=(0x120, 0x121)),
    Stream("Nunchuk", "hid-wiimote-modules.c: accelerometer, fuzz 2, flat 4",
           dict.fromkeys((HAT0X, HAT0Y), (0, -120, 120, 2, 4)) | dict.fromkeys((RX, RY, RZ), (100, -500, 500, 2, 4)),
           steps(0, 5, -6, 3, -4), (RX, RY, RZ), (HAT0X, 110), keys=(0x132, 0x135)),
    Stream("Deck", "hid-steam.c: no fuzz, triggers on HAT2",
           dict.fromkeys((X, Y, RX, RY), (0, -32767, 32767, 0, 0)) | dict.fromkeys((HAT2X, HAT2Y), (0, 0, 32767, 0, 0)),
           steps(0, 400, -350, 250, -120), (X, Y, RX, RY, HAT2X), (HAT2Y, 32767)),
    Stream("handheld's sticks", "adc-joystick.c: no key, raw readings",
           dict.fromkeys((X, Y, RX, RY), (1700, 180, 3700, 8, 32)),
           steps(0, 30, -25, 12, -40), (X, Y, RX, RY), (RY, 3600), keys=()),
]  # fmt: skip
