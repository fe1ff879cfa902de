# SPDX-License-Identifier: GPL-2.0-or-later
"""Kind and lanes of an evdev device, from its capability bits and what udev and HID say: no vendor, no name."""

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
ABS_MISC = 0x28
ABS_MT_POSITION_X, ABS_MT_POSITION_Y = 0x35, 0x36
KEY_UNKNOWN = 240
BTN_MOUSE = range(0x110, 0x118)
BTN_LEFT = 0x110
BTN_JOYSTICK = range(0x120, 0x130)
BTN_TRIGGER = 0x120
BTN_GAMEPAD = range(0x130, 0x13F)
BTN_SOUTH = 0x130
BTN_TOOLS = range(0x140, 0x150)
BTN_TOOL_PEN, BTN_TOOL_FINGER, BTN_TOUCH, BTN_STYLUS = 0x140, 0x145, 0x14A, 0x14B
BTN_WHEEL = range(0x150, 0x152)
BTN_DPAD = range(0x220, 0x224)
BTN_TRIGGER_HAPPY = range(0x2C0, 0x2E8)
FF_AUTOCENTER = 0x61
INPUT_PROP_POINTER, INPUT_PROP_DIRECT = 0x00, 0x01
INPUT_PROP_POINTING_STICK, INPUT_PROP_ACCELEROMETER = 0x05, 0x06

LETTERS = frozenset({*range(16, 26), *range(30, 39), *range(44, 51)})
MACROS = frozenset(range(0x290, 0x2AE))  # KEY_MACRO1 to KEY_MACRO30
KEYPAD_DIGITS = frozenset({71, 72, 73, 75, 76, 77, 79, 80, 81, 82})
ARROWS = frozenset({103, 105, 106, 108})
MODIFIERS = frozenset({29, 42, 54, 56, 57, 97, 100})  # Ctrl, Shift, Alt; Space with them
VOLUME = frozenset({113, 114, 115})

HATS = frozenset(range(ABS_HAT0X, ABS_HAT3Y + 1))
LEVERS = frozenset(range(ABS_X, ABS_BRAKE + 1))
# Axes that a controller has. ABS_VOLUME, ABS_MISC and the multi-touch ones are none of it: media
# nodes and headsets have them without anything that moves.
GAME_AXES = LEVERS | HATS
# Sensors older than the accelerometer property have one of these sets and no key.
_TRIPLES = (frozenset({ABS_X, ABS_Y, ABS_Z}), frozenset({ABS_RX, ABS_RY, ABS_RZ}))
SENSOR_AXES = frozenset({frozenset({ABS_X, ABS_Y}), *_TRIPLES, _TRIPLES[0] | _TRIPLES[1]})
_TWO_STICKS = frozenset({ABS_X, ABS_Y, ABS_RX, ABS_RY})
_STICKS = frozenset({*BTN_JOYSTICK, *BTN_GAMEPAD, *BTN_DPAD, *BTN_TRIGGER_HAPPY})
# Buttons counted past the end of the pad's: the code between has no name, so no pen has it.
_SPILL = frozenset({0x13F, BTN_TOOL_PEN})
_NUMBERED = frozenset(range(0x100, 0x10A))  # BTN_0 to BTN_9
BTN_MISC = range(0x100, 0x110)

MAX_BITS = 0x2FF + 1  # KEY_MAX is the largest code there is
WORD_BITS = struct.calcsize("l") * 8
_WORD = re.compile(r"[0-9a-fA-F]{1,16}")


class Kind(StrEnum):
    """The kind of a device, as `scx-gamer devices` prints it."""

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


@dataclass(frozen=True, slots=True)
class Facts:
    """Claims of udev or of the HID descriptor, for devices whose bits are not enough."""

    controller: bool = False  # ID_INPUT_JOYSTICK; a HID application of joystick or game pad
    sensor: bool = False  # ID_INPUT_ACCELEROMETER
    tablet_pad: bool = False  # ID_INPUT_TABLET_PAD
    source: str = ""  # who says so


NO_FACTS = Facts()


@dataclass(frozen=True, slots=True)
class Lanes:
    """The lane that each source of events opens: one node may be keyboard and mouse."""

    key: Lane
    button: Lane
    rel: Lane
    abs: Lane

    @classmethod
    def all_of(cls, lane: Lane) -> Lanes:
        """Return one lane for every source."""
        return cls(lane, lane, lane, lane)

    def each(self) -> frozenset[Lane]:
        """Return the lanes that the device can open."""
        return frozenset({self.key, self.button, self.rel, self.abs}) - {Lane.NONE}


NO_LANES = Lanes.all_of(Lane.NONE)


def is_button(code: int) -> bool:
    """Return True for a code that no keyboard types with; scxg_is_button() of input_policy.h."""
    return 0x100 <= code < 0x160 or code in BTN_DPAD or 0x2C0 <= code < 0x300


def classify(caps: Capabilities, facts: Facts = NO_FACTS) -> Kind:
    """Return the kind of a device. Total: any set of bits has one."""
    key = caps.key
    if INPUT_PROP_ACCELEROMETER in caps.properties or facts.sensor:
        return Kind.NONE  # motion sensors never rest: they would hold a window open for ever
    if {REL_X, REL_Y} <= caps.rel and (
        BTN_LEFT in key or caps.properties & {INPUT_PROP_POINTER, INPUT_PROP_POINTING_STICK}
    ):
        # Before keyboard: wireless gaming mice share one node with their macro keys.
        return Kind.MOUSE
    typing = _types(key)
    if facts.tablet_pad or (not typing and _is_tablet_pad(key)):
        return Kind.NONE  # the buttons of a drawing tablet
    if not typing or _is_pad_with_keys(caps):
        kind = _controller(caps, facts)
        if kind is not Kind.NONE:
            return kind
    if _is_surface(caps):
        if BTN_TOOL_PEN in key:
            return Kind.MOUSE  # a tablet is the mouse of whoever plays with one
        if key & {BTN_TOOL_FINGER, BTN_TOUCH}:
            return Kind.TOUCHPAD  # touchscreens too: a touch surface, the same lane
        if BTN_LEFT in key and not typing:
            return Kind.MOUSE  # absolute pointer, as virtual machines have
        if not typing and caps.properties & {INPUT_PROP_POINTER, INPUT_PROP_DIRECT}:
            return Kind.TOUCHPAD  # its driver names no BTN_TOUCH
    return Kind.KEYBOARD if typing else Kind.NONE


def _types(key: frozenset[int]) -> bool:
    """Return True for keys that somebody types or plays with: of a keyboard, number pad, arcade encoder, key pad."""
    if len(key & LETTERS) >= 4 or len(key & KEYPAD_DIGITS) >= 9 or len(key & MACROS) >= 8:
        return True
    return key >= ARROWS and len(key & MODIFIERS) >= 3  # a remote control has the arrows alone


def _is_tablet_pad(key: frozenset[int]) -> bool:
    """Return True for the pad of a tablet: tool buttons without a tool that touches, as BTN_STYLUS.

    Or buttons counted from BTN_0 on, past BTN_9 to BTN_A: wacom_setup_numbered_buttons() of the kernel.
    """
    if key >= _SPILL or key & {BTN_TOOL_PEN, BTN_TOOL_FINGER, BTN_TOUCH}:
        return False
    return not key.isdisjoint(BTN_TOOLS) or (key >= _NUMBERED and BTN_TRIGGER not in key)


def _is_pad_with_keys(caps: Capabilities) -> bool:
    """Return True for a game pad whose node has a keyboard too, unlike a keyboard with a small stick."""
    if {ABS_X, ABS_Y} <= caps.abs and len(caps.key.intersection(BTN_GAMEPAD)) >= 4:
        return bool(caps.ff) or len(caps.abs & GAME_AXES) >= 4
    return False


def _is_surface(caps: Capabilities) -> bool:
    if {ABS_X, ABS_Y} <= caps.abs:
        return True
    # Multi-touch axes alone may be stray, as those of headsets are: a surface has a property.
    surface = caps.properties & {INPUT_PROP_POINTER, INPUT_PROP_DIRECT}
    return bool(surface) and {ABS_MT_POSITION_X, ABS_MT_POSITION_Y} <= caps.abs


def _controller(caps: Capabilities, facts: Facts) -> Kind:
    key, axes = caps.key, caps.abs & GAME_AXES
    touched = key & {BTN_TOOL_PEN, BTN_TOOL_FINGER, BTN_TOUCH} and not key >= _SPILL
    if touched or INPUT_PROP_DIRECT in caps.properties:
        return Kind.NONE
    if not axes:
        return _buttons_alone(caps, facts)
    buttons = not key.isdisjoint(BTN_JOYSTICK) or not key.isdisjoint(BTN_GAMEPAD)
    if buttons or not key.isdisjoint(BTN_WHEEL):
        return _with_buttons(caps, axes)
    if caps.ff:
        # A wheel base: its buttons are on a rim that is not plugged in.
        steers = FF_AUTOCENTER in caps.ff and axes & {ABS_X, ABS_WHEEL}
        return Kind.WHEEL if steers else Kind.JOYSTICK
    if not key and axes == _TWO_STICKS:
        return Kind.GAMEPAD  # the sticks of a handheld, whose buttons are another node
    if facts.controller:
        return Kind.JOYSTICK
    if not key.isdisjoint(_STICKS):
        return Kind.JOYSTICK
    # Pedals, handbrakes, throttle units and bare sticks have no button.
    if not key and axes & LEVERS and axes not in SENSOR_AXES:
        return Kind.JOYSTICK
    # RC receivers and 3D mice number their switches (fsia6b, magellan of the kernel); tablets do so beside ABS_MISC.
    if key and key <= {*BTN_MISC} and len(axes & LEVERS) >= 4 and ABS_MISC not in caps.abs:
        return Kind.JOYSTICK
    return Kind.NONE


def _with_buttons(caps: Capabilities, axes: frozenset[int]) -> Kind:
    key = caps.key
    stick = {ABS_X, ABS_Y} <= axes
    pad = not key.isdisjoint(BTN_GAMEPAD)
    # Gear buttons make a wheel, unless there is a pad's stick beside them: grips use their codes.
    if ABS_WHEEL in axes or (not key.isdisjoint(BTN_WHEEL) and not (pad and stick)):
        return Kind.WHEEL
    if pad and (stick or axes & HATS):
        return Kind.GAMEPAD
    if BTN_SOUTH in key and not key.isdisjoint(BTN_DPAD):
        return Kind.GAMEPAD
    # A wheel without gear buttons is a force feedback device that centres itself, with
    # pedals; force feedback sticks have a throttle or a rudder.
    pedals = axes & {ABS_Z, ABS_RZ, ABS_GAS, ABS_BRAKE}
    levers = axes & {ABS_THROTTLE, ABS_RUDDER}
    if FF_AUTOCENTER in caps.ff and ABS_X in axes and pedals and not levers:
        return Kind.WHEEL
    return Kind.JOYSTICK


def _buttons_alone(caps: Capabilities, facts: Facts) -> Kind:
    """Controllers without an axis: remotes, arcade panels, button boxes, pads on GPIOs."""
    key = caps.key
    pad = len(key.intersection(BTN_GAMEPAD))
    sticks = len(key & _STICKS)
    if not sticks or not key.isdisjoint(BTN_MOUSE):
        # Usages counted through all of the button codes, as headsets and tablets have.
        return Kind.NONE
    cross = not key.isdisjoint(BTN_DPAD) or key >= ARROWS
    if pad >= 2 and (cross or pad >= 4):
        return Kind.GAMEPAD
    if not key.isdisjoint(VOLUME):
        return Kind.NONE  # stray buttons of a headset
    return Kind.JOYSTICK if sticks >= 2 or facts.controller or caps.ff else Kind.NONE


def lane_of(kind: Kind) -> Lane:
    """Return the boost lane of a kind."""
    return _LANES[kind]


def lanes_of(kind: Kind, caps: Capabilities) -> Lanes:
    """Return the lanes of a device by the source of an event."""
    lane = _LANES[kind]
    pointer = {REL_X, REL_Y} <= caps.rel
    if lane is Lane.MOUSE:
        # Fingers that rest on a Magic Mouse jitter; a tablet in the node of its mouse (aiptek, UGTABLET) has X and Y.
        stray = kind is Kind.MOUSE and pointer and not {ABS_X, ABS_Y} <= caps.abs
        absolute = Lane.NONE if stray else lane
        return Lanes(Lane.KEYBOARD if _types(caps.key) else lane, lane, lane, absolute)
    if kind is not Kind.KEYBOARD:
        return Lanes.all_of(lane)
    if not caps.key.isdisjoint(_STICKS) and {ABS_X, ABS_Y} <= caps.abs:
        return Lanes(lane, Lane.GAMEPAD, lane, Lane.GAMEPAD)
    if _is_surface(caps) and not caps.key.isdisjoint({BTN_LEFT, BTN_TOUCH}):
        return Lanes(lane, Lane.MOUSE, Lane.MOUSE if pointer else lane, Lane.MOUSE)
    # A wheel or a knob of a keyboard is a key; its ABS_VOLUME and ABS_MISC are nothing.
    return Lanes(lane, lane, Lane.MOUSE if pointer else lane, Lane.NONE)
