# SPDX-License-Identifier: GPL-2.0-or-later
"""Acts of the player among input events: the arithmetic of bpf/include/input_policy.h for the evdev path.

tests/policy holds the two equal, for any axis and any value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from scx_gamer.input.classify import (
    ABS_HAT3Y,
    ABS_MT_POSITION_X,
    ABS_MT_POSITION_Y,
    ABS_WHEEL,
    ABS_X,
    ABS_Y,
    BTN_TOOLS,
    BTN_TOUCH,
    EV_ABS,
    EV_KEY,
    EV_REL,
    KEY_UNKNOWN,
    MAX_BITS,
    Kind,
    Lane,
    is_button,
)

# How far an axis moves without being used, in thousandths of its way, unless the driver's flat or fuzz is more.
DEAD_PERMILLE = 30  # SCXG_DEAD_PERMILLE, which has the reason
DEAD_WHEEL_PERMILLE = 10  # a wheel turns by 900 degrees: 9 of them
DEAD_POINTER_PERMILLE = 1  # pens and touch surfaces: two pixels of a screen

ABS_AXES = 64  # ABS_CNT
ABS_MT_SLOT = 0x2F  # the first of the multi-touch axes
_POSITIONS = frozenset({ABS_X, ABS_Y, ABS_MT_POSITION_X, ABS_MT_POSITION_Y})
_KEY_REPEAT = 2


class Source(IntEnum):
    """Enum scxg_source of abi.h."""

    KEY = 0
    BUTTON = 1
    REL = 2
    ABS = 3


def dead_permille(kind: Kind, lane: Lane) -> int:
    """Return the share of an axis' way that is no act, for the finest axis of a device; `lane` is that of its axes."""
    if kind is Kind.WHEEL:
        return DEAD_WHEEL_PERMILLE
    return DEAD_POINTER_PERMILLE if lane is Lane.MOUSE else DEAD_PERMILLE


def is_axis(lane: Lane, code: int) -> bool:
    """Return True for an axis that the player moves.

    Of a pointer the position alone: a pen that lies near its tablet jitters in tilt and distance. Of a controller the
    axes up to the hats: beyond them hid-sony and others have motion sensors.
    """
    return code in _POSITIONS if lane is Lane.MOUSE else code <= ABS_HAT3Y


def axis_permille(lane: Lane, code: int, permille: int) -> int:
    """Return the share of one axis' way that is no act; `permille` is that of the device's finest axis."""
    fine = lane is Lane.MOUSE or code in (ABS_X, ABS_WHEEL)
    return permille if fine else max(permille, DEAD_PERMILLE)


# Keys that hold a window while they are down. Not KEY_RESERVED and KEY_UNKNOWN, which are what a driver could not name
# and may be down for good (an Elite 2's over Bluetooth is), nor the tools: which one is near is no touch.
HOLDING = sum(
    1 << code
    for code in range(MAX_BITS)
    if code not in (0, KEY_UNKNOWN) and (code not in BTN_TOOLS or code == BTN_TOUCH)
)
BUTTONS = sum(1 << code for code in range(MAX_BITS) if is_button(code))


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an absolute axis, as EVIOCGABS has them."""

    minimum: int
    maximum: int
    fuzz: int = 0
    flat: int = 0

    @property
    def way(self) -> int:
        return max(self.maximum - self.minimum, 0)

    def dead(self, permille: int) -> int:
        """Return how far the axis moves without being used: at most a quarter of its way."""
        dead = max(self.way * permille // 1000, self.flat, self.fuzz)
        return min(dead, self.way // 4) if self.way else dead


def is_rest(lane: Lane, x: Limits, values: Iterable[int]) -> bool:
    """Return True if the place where a device's axes are is where they rest.

    The kernel begins with 0, which is an end of an unsigned X: such a controller has reported nothing yet.
    """
    return lane is Lane.MOUSE or any(values) or x.minimum < 0 or not x.way


class Axes:
    """The value at which each absolute axis of a device last counted."""

    def __init__(self, lane: Lane, permille: int) -> None:
        self._lane, self._permille = lane, permille
        self._dead: dict[int, int] = {}
        self._counted: dict[int, int] = {}
        self.silent = self._moved = False  # has reported nothing yet; does so now

    @property
    def states(self) -> list[int]:
        """The axes whose value the device tells when asked: the kernel keeps none of multi-touch axes."""
        return [code for code in self._dead if code < ABS_MT_SLOT]

    def begin(self, x: Limits) -> None:
        """Begin to judge, after all axes were learnt: the first report of a silent device says where they are."""
        self.silent = not is_rest(self._lane, x, self._counted.values())

    def end(self) -> None:
        """End a read."""
        if self._moved:
            self.silent = self._moved = False

    def learn(self, code: int, limits: Limits, value: int) -> None:
        """Take the limits of an axis, and where it is; an axis that no player moves never acts."""
        if not is_axis(self._lane, code):
            return
        self._dead[code] = limits.dead(axis_permille(self._lane, code, self._permille))
        self._counted[code] = value

    def acts(self, code: int, value: int) -> bool:
        """Return True if the axis is farther from where it last counted than its dead zone; it counts here then."""
        dead = self._dead.get(code)
        if dead is None or -dead <= value - self._counted[code] <= dead:
            return False
        self._counted[code] = value
        if self.silent:
            self._moved = True
            return False
        return True


# Each event costs what follows, amid other work: names of the module, and one look-up by the code of a key.
_KEY, _REL, _ABS = Source.KEY, Source.REL, Source.ABS
_KEY_SOURCES = tuple(Source.BUTTON if is_button(c) else Source.KEY for c in range(MAX_BITS))


def acting(axes: Axes, kind: int, code: int, value: int) -> Source | None:
    """Return the source of an event that is an act, None for any other event; auto-repeat is none."""
    if kind == EV_KEY:
        if value == _KEY_REPEAT:
            return None
        return _KEY_SOURCES[code] if code < MAX_BITS else _KEY
    if kind == EV_REL:
        return _REL if value else None
    if kind == EV_ABS and axes.acts(code, value):
        return _ABS
    return None
