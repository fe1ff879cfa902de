# SPDX-License-Identifier: GPL-2.0-only
"""What an evdev device is, from its capability bits alone: no vendor, no name."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import StrEnum

# Event types and codes of the kernel's input-event-codes.h. They are spelt out here because the
# evdev package takes 88 ms to import and scan_devices() must stay cheap.
EV_KEY, EV_REL, EV_ABS = 0x01, 0x02, 0x03
REL_X, REL_Y = 0x00, 0x01
ABS_X, ABS_Y, ABS_Z, ABS_RX, ABS_RY, ABS_RZ = range(0x00, 0x06)
ABS_THROTTLE, ABS_RUDDER, ABS_WHEEL, ABS_GAS, ABS_BRAKE = range(0x06, 0x0B)
ABS_HAT0X, ABS_HAT3Y = 0x10, 0x17
ABS_MT_POSITION_X = 0x35
BTN_LEFT = 0x110
BTN_JOYSTICK = range(0x120, 0x130)
BTN_GAMEPAD = range(0x130, 0x13F)
BTN_SOUTH = 0x130
BTN_TOOL_PEN, BTN_TOOL_FINGER, BTN_TOUCH = 0x140, 0x145, 0x14A
BTN_WHEEL = range(0x150, 0x152)
BTN_DPAD = range(0x220, 0x224)
FF_AUTOCENTER = 0x61
INPUT_PROP_DIRECT, INPUT_PROP_ACCELEROMETER = 0x01, 0x06

LETTERS = frozenset({*range(16, 26), *range(30, 39), *range(44, 51)})
KEYPAD_DIGITS = frozenset({71, 72, 73, 75, 76, 77, 79, 80, 81, 82})

MAX_BITS = 0x2FF + 1  # KEY_MAX is the largest code there is
WORD_BITS = struct.calcsize("l") * 8
_WORD = re.compile(r"[0-9a-fA-F]{1,16}")


class Kind(StrEnum):
    """What the device is, in the words of `scx-gamer devices`."""

    KEYBOARD = "keyboard"
    MOUSE = "mouse"
    TOUCHPAD = "touchpad"
    GAMEPAD = "gamepad"
    WHEEL = "wheel"
    JOYSTICK = "joystick"
    NONE = "none"


class Lane(StrEnum):
    """The boost lane; its number is SCXG_LANE_<NAME> of abi.h."""

    NONE = "none"
    KEYBOARD = "keyboard"
    MOUSE = "mouse"
    GAMEPAD = "gamepad"


_LANES = {
    Kind.KEYBOARD: Lane.KEYBOARD,
    Kind.MOUSE: Lane.MOUSE,
    Kind.TOUCHPAD: Lane.MOUSE,
    Kind.GAMEPAD: Lane.GAMEPAD,
    Kind.WHEEL: Lane.GAMEPAD,
    Kind.JOYSTICK: Lane.GAMEPAD,
    Kind.NONE: Lane.NONE,
}


class CapabilityError(ValueError):
    """A capability text that the kernel does not write."""


def parse_bits(text: str, word_bits: int = WORD_BITS) -> frozenset[int]:
    """The set bits of a sysfs bitmap: hex words of a long each, the highest first, unpadded.

    Raises CapabilityError for anything else. Bits beyond KEY_MAX are dropped.
    """
    bits: set[int] = set()
    for index, word in enumerate(reversed(text.split())):
        if not _WORD.fullmatch(word) or int(word, 16) >> word_bits:
            raise CapabilityError(f"not a capability bitmap: {text[:60]!r}")
        value = int(word, 16)
        while value:
            low = value & -value
            bit = index * word_bits + low.bit_length() - 1
            if bit < MAX_BITS:
                bits.add(bit)
            value ^= low
    return frozenset(bits)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The bits that the classification looks at; each a set of codes."""

    key: frozenset[int] = frozenset()
    rel: frozenset[int] = frozenset()
    abs: frozenset[int] = frozenset()
    ff: frozenset[int] = frozenset()
    properties: frozenset[int] = frozenset()


def classify(caps: Capabilities) -> Kind:
    """The kind of a device. Total: any set of bits has one."""
    key, axes = caps.key, caps.abs
    if INPUT_PROP_ACCELEROMETER in caps.properties:
        return Kind.NONE  # motion sensors never rest: they would hold a window open for ever
    if {REL_X, REL_Y} <= caps.rel and BTN_LEFT in key:
        # Before keyboard: wireless gaming mice share one node with their macro keys.
        return Kind.MOUSE
    stick = {ABS_X, ABS_Y} <= axes
    typing = len(key & LETTERS) >= 4 or len(key & KEYPAD_DIGITS) >= 9
    if axes and not typing:
        kind = _controller(caps, stick)
        if kind is not Kind.NONE:
            return kind
    if stick or ABS_MT_POSITION_X in axes:
        if BTN_TOOL_PEN in key:
            return Kind.MOUSE  # a tablet is the mouse of whoever plays with one
        if key & {BTN_TOOL_FINGER, BTN_TOUCH}:
            return Kind.TOUCHPAD  # touchscreens too: a touch surface, the same lane
        if BTN_LEFT in key and not typing:
            return Kind.MOUSE  # absolute pointer, as virtual machines have
    return Kind.KEYBOARD if typing else Kind.NONE


def _controller(caps: Capabilities, stick: bool) -> Kind:
    key, axes = caps.key, caps.abs
    if key & {BTN_TOOL_PEN, BTN_TOOL_FINGER, BTN_TOUCH} or INPUT_PROP_DIRECT in caps.properties:
        return Kind.NONE
    buttons = not key.isdisjoint(BTN_JOYSTICK) or not key.isdisjoint(BTN_GAMEPAD)
    levers = axes & {ABS_THROTTLE, ABS_RUDDER}
    pedals = axes & {ABS_Z, ABS_RZ, ABS_GAS, ABS_BRAKE}
    if not key.isdisjoint(BTN_WHEEL) or (buttons and ABS_WHEEL in axes):
        return Kind.WHEEL
    if not key.isdisjoint(BTN_GAMEPAD) and (stick or ABS_HAT0X in axes):
        return Kind.GAMEPAD
    if BTN_SOUTH in key and not key.isdisjoint(BTN_DPAD):
        return Kind.GAMEPAD
    if buttons:
        # A wheel without gear buttons is a force feedback device that centres itself, with
        # pedals; force feedback sticks have a throttle or a rudder.
        if FF_AUTOCENTER in caps.ff and ABS_X in axes and pedals and not levers:
            return Kind.WHEEL
        return Kind.JOYSTICK
    if not key and (
        axes & {ABS_THROTTLE, ABS_RUDDER, ABS_WHEEL, ABS_GAS, ABS_BRAKE} or {ABS_X, ABS_RZ} <= axes
    ):
        # Pedals and throttle units have no button. Sensors older than the accelerometer property
        # have X, Y and at most Z, or the R axes alone.
        return Kind.JOYSTICK if not {ABS_RX, ABS_RY, ABS_Z} <= axes else Kind.NONE
    return Kind.NONE


def lane_of(kind: Kind) -> Lane:
    """The boost lane of a kind."""
    return _LANES[kind]
