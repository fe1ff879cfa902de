# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys and axes that hold a window open, told apart from those that are merely not at zero.

Where an axis rests follows from its limits and from where its neighbours are, and is learnt: a position that stays
within the dead zone for some seconds is rest: soon for levers and near the middle, later for a stick at its stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scx_gamer.input.acts import BUTTONS, DEAD_PERMILLE, HOLDING, Limits
from scx_gamer.input.classify import (
    ABS_BRAKE,
    ABS_GAS,
    ABS_HAT0X,
    ABS_HAT3Y,
    ABS_RX,
    ABS_RY,
    ABS_RZ,
    ABS_X,
    ABS_Y,
    ABS_Z,
    BTN_GAMEPAD,
    BTN_JOYSTICK,
    Capabilities,
    Kind,
)

# A parked lever, a stick that hangs near its middle: after this long a position is rest. So long may hold the first act
# of a device that has reported nothing before: where it rests shows only afterwards.
PARKED_NS = 3_000_000_000
# The same of a gear shifter, a toggle switch, a wheel that is turned, a pedal.
REST_NS = 10_000_000_000
# A stick at its stop and a key that is down are held for longer than that, but not for ever: whoever plays moves
# something within two minutes, and a weight on a key does not.
CAP_NS = 120_000_000_000
# Of half the way, in thousandths: a stick that hangs nearer to its middle than this drifts; where it is first seen so,
# it is at rest.
_DRIFT_PERMILLE = 300
_CONTROLLERS = frozenset({Kind.GAMEPAD, Kind.WHEEL, Kind.JOYSTICK})
_HATS = range(ABS_HAT0X, ABS_HAT3Y + 1)
_LEFT, _RIGHT, _FAR_RIGHT = (ABS_X, ABS_Y), (ABS_RX, ABS_RY), (ABS_Z, ABS_RZ)
_PEDALS = (ABS_GAS, ABS_BRAKE)
# Of a stick and of a wheel: the others are levers, pedals and sensors, which are at rest where they are first seen.
_SPRINGS = {Kind.JOYSTICK: frozenset({*_LEFT, *_HATS}), Kind.WHEEL: frozenset({ABS_X, *_HATS})}


@dataclass(frozen=True, slots=True)
class Held:
    """The parts of a device that are off their rest."""

    keys: bool = False
    axes: bool = False
    buttons: bool = False

    def __bool__(self) -> bool:
        return self.keys or self.axes or self.buttons


def held_axes(kind: Kind, caps: Capabilities) -> frozenset[int]:
    """Return the axes that return by themselves on a device of this kind."""
    pad_on_keyboard = (
        kind is Kind.KEYBOARD
        and {ABS_X, ABS_Y} <= caps.abs
        and not caps.key.isdisjoint({*BTN_GAMEPAD, *BTN_JOYSTICK})
    )
    if kind not in _CONTROLLERS and not pad_on_keyboard:
        return frozenset()
    codes = {*_LEFT, *_RIGHT, *_HATS}
    if kind is not Kind.JOYSTICK:  # whose throttle and twist handle, Z and RZ, stay where they are
        codes |= {*_FAR_RIGHT, *_PEDALS}
    return caps.abs & codes


class _Axis:
    """One axis: its rests, and how long it has been where it is."""

    def __init__(self, limits: Limits, springs: bool, rest_ns: int) -> None:
        self.limits, self._springs, self._rest_ns = limits, springs, rest_ns
        self._tolerance = limits.dead(DEAD_PERMILLE)
        self._anchor: int | None = None
        self._since_ns = 0
        self._learnt: int | None = None
        self._end: int | None = None  # where a pedal rests

    @property
    def parked(self) -> bool:
        """True if the axis stays where it is left, as far as is known."""
        return not self._springs

    def near_middle(self, value: int) -> bool:
        low, high = self.limits.minimum, self.limits.maximum
        return abs(2 * value - (low + high)) <= self.limits.way // 4

    def near_minimum(self, value: int) -> bool:
        return value - self.limits.minimum <= self.limits.way // 8

    def is_at(self, end: int, value: int) -> bool:
        return abs(value - end) <= self._tolerance

    def rest_at(self, end: int) -> None:
        """Return to this end when let go of."""
        self._springs, self._end, self._learnt = True, end, None

    def note_rest(self, value: int) -> None:
        """Take a position from before the axis was used."""
        if not self._springs or self._drifts(value, trigger=False):
            self._learnt = value

    def _from_rest(self, value: int, trigger: bool) -> tuple[int, int]:
        """Return twice the distance from where a stick, trigger or pedal rests, and twice its way."""
        low, high, way = self.limits.minimum, self.limits.maximum, self.limits.way
        end = low if trigger and self._end is None else self._end
        if end is None:
            return abs(2 * value - (low + high)), way
        return abs(2 * (value - end)), 2 * way

    def _drifts(self, value: int, trigger: bool) -> bool:
        distance2, way2 = self._from_rest(value, trigger)
        return distance2 * 1000 <= way2 * _DRIFT_PERMILLE

    def off(self, value: int, trigger: bool, now_ns: int) -> bool:
        """Return True if the axis is off its rest; beyond flat and beyond 10 % of its way."""
        distance2, way2 = self._from_rest(value, trigger)
        reach2 = max(min(2 * self.limits.flat, way2 // 2), way2 // 10)
        drifts = self._drifts(value, trigger)
        if self._anchor is None and self._learnt is None and (drifts or not self._springs):
            self._learnt = value
        if self._anchor is None or abs(value - self._anchor) > self._tolerance:
            self._anchor, self._since_ns = value, now_ns
        if self._springs and distance2 <= reach2:
            return False
        if now_ns - self._since_ns >= (PARKED_NS if drifts else self._rest_ns):
            self._learnt = self._anchor
        return self._learnt is None or abs(value - self._learnt) > max(self._tolerance, reach2 // 2)


class HeldState:
    """The keys and axes that a device holds, from its state at each poll."""

    def __init__(self, kind: Kind, limits: Mapping[int, Limits]) -> None:
        self._kind = kind
        self._springs = kind not in _SPRINGS
        self._rest_ns = CAP_NS if self._springs else REST_NS
        lever_ns = PARKED_NS if kind is Kind.JOYSTICK else REST_NS
        self._axes: dict[int, _Axis] = {}
        for code, one in limits.items():
            springs = self._springs or code in _SPRINGS[kind]
            if one.way:
                self._axes[code] = _Axis(one, springs, self._rest_ns if springs else lever_ns)
        self._reported = False
        self._down_since: dict[int, int] = {}
        self._triggers = self._first_triggers()

    @property
    def codes(self) -> tuple[int, ...]:
        """The axes whose values update() takes."""
        return tuple(self._axes)

    def note_rest(self, values: Mapping[int, int]) -> None:
        """Take where axes were before they were used; all 0 is what the kernel begins with, and tells nothing."""
        if any(values.values()):
            for code, axis in self._axes.items():
                if code in values:
                    axis.note_rest(values[code])
            self._find_pedal_rest(values)

    def _find_pedal_rest(self, values: Mapping[int, int]) -> None:
        """Find the end where the pedals of a wheel rest: most are there, since whoever drives has two feet."""
        pedals = {c: axis for c, axis in self._axes.items() if axis.parked and c in values}
        if self._kind is not Kind.WHEEL:
            return
        low = sum(axis.is_at(axis.limits.minimum, values[c]) for c, axis in pedals.items())
        high = sum(axis.is_at(axis.limits.maximum, values[c]) for c, axis in pedals.items())
        if low != high:
            for axis in pedals.values():
                axis.rest_at(axis.limits.minimum if low > high else axis.limits.maximum)

    def _first_triggers(self) -> frozenset[int]:
        """Return the axes that rest at their minimum, as far as limits tell."""
        if not self._springs:
            return frozenset(c for c in _HATS if c in self._axes and self._unsigned(c))
        found = {code for code in _PEDALS if code in self._axes}
        found |= {code for code in _HATS if code in self._axes and self._unsigned(code)}
        # Both beside a right stick are triggers. One alone is the third axis of a sensor (a Nunchuk's RX, RY, RZ) or a
        # twist handle, and both without a right stick are that stick, unless their way is another one.
        both = all(code in self._axes for code in (*_RIGHT, *_FAR_RIGHT))
        for code in _FAR_RIGHT:
            if code in self._axes and (both or self._way_differs(code)):
                found.add(code)
        return frozenset(found)

    def _unsigned(self, code: int) -> bool:
        return self._axes[code].limits.minimum >= 0

    def _way_differs(self, code: int) -> bool:
        return ABS_X in self._axes and self._axes[ABS_X].limits.way != self._axes[code].limits.way

    def _find_right_stick(self, values: Mapping[int, int]) -> None:
        """Find the right stick where limits do not tell: the pair in its middle, triggers are at their ends."""
        right = [self._axes[c] for c in _RIGHT if c in self._axes]
        far = [self._axes[c] for c in _FAR_RIGHT if c in self._axes]
        if not self._springs or len(far) < 2 or self._way_differs(ABS_Z):
            return
        middle_right = sum(self._axes[c].near_middle(values[c]) for c in _RIGHT if c in self._axes)
        middle_far = sum(self._axes[c].near_middle(values[c]) for c in _FAR_RIGHT)
        others = self._triggers - {*_RIGHT, *_FAR_RIGHT}
        if len(right) < 2:
            at_ends = all(self._axes[c].near_minimum(values[c]) for c in _FAR_RIGHT)
            if at_ends and all(self._unsigned(c) for c in _FAR_RIGHT):
                self._triggers = others | set(_FAR_RIGHT)
            elif middle_far == 2:
                self._triggers = others
        elif middle_far == 2 and middle_right == 2:
            self._triggers = others
        elif middle_far == 2 and middle_right == 0:
            self._triggers = others | set(_RIGHT)
        elif middle_right == 2 and middle_far == 0:
            self._triggers = others | set(_FAR_RIGHT)

    def update(self, now_ns: int, keys: int, values: Mapping[int, int]) -> Held:
        """Return what is held, with this state of keys and axes."""
        down = self._young(now_ns, keys & HOLDING)
        # The kernel begins with 0 for every axis: a device that has reported nothing yet holds nothing.
        if not self._reported and any(values.values()):
            self._reported = True
            self._find_pedal_rest(values)
        off = False
        if self._reported:
            self._find_right_stick(values)
            for code, axis in self._axes.items():
                off |= axis.off(values[code], code in self._triggers, now_ns)
        return Held(bool(down & ~BUTTONS), off, bool(down & BUTTONS))

    def _young(self, now_ns: int, down: int) -> int:
        """Return the keys of `down` that have not been down for too long."""
        since, young = self._down_since, 0
        self._down_since = {}
        while down:
            low = down & -down
            down ^= low
            began = since.get(low, now_ns)
            self._down_since[low] = began
            if now_ns - began < self._rest_ns:
                young |= low
        return young
