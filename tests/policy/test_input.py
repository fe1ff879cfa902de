# SPDX-License-Identifier: GPL-2.0-or-later
"""input_policy.h and the evdev path's acts.py are one arithmetic, and it is the one that was meant."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.input.acts import (
    BUTTONS,
    DEAD_PERMILLE,
    HOLDING,
    Axes,
    Limits,
    Source,
    acting,
    axis_permille,
    is_axis,
    is_rest,
)
from scx_gamer.input.classify import MAX_BITS, Lane
from tests.policy.conftest import InputPolicy

NO_SOURCE = len(Source)
KEY_WORDS = MAX_BITS // 64
many = settings(max_examples=600, deadline=None)

s32 = st.one_of(
    st.integers(-(2**31), 2**31 - 1), st.integers(-40_000, 40_000), st.integers(-300, 300)
)
permilles = st.one_of(st.integers(0, 1000), st.sampled_from([1, 10, 30]))


def _axis(
    policy: InputPolicy, limits: Limits, permille: int, counted: int, value: int
) -> tuple[bool, int]:
    raw = policy.ask(
        0, limits.minimum, limits.maximum, limits.fuzz, limits.flat, permille,
        counted, value, size=9,
    )  # fmt: skip
    return raw[0] == 1, struct.unpack("<Q", raw[1:])[0]


@many
@given(s32, s32, s32, s32, permilles, s32, s32)
def test_both_paths_agree_on_an_axis(
    input_policy: InputPolicy,
    low: int,
    high: int,
    fuzz: int,
    flat: int,
    permille: int,
    counted: int,
    value: int,
) -> None:
    limits = Limits(low, high, fuzz, flat)
    axes = Axes(Lane.GAMEPAD, permille)
    axes.learn(0, limits, counted)
    acts, dead = _axis(input_policy, limits, permille, counted, value)
    assert dead == max(limits.dead(permille), 0)
    assert acts == axes.acts(0, value)
    if acts:
        assert not axes.acts(0, value), "it counts from where it is now"


@many
@given(
    st.integers(0, 0x20),
    st.one_of(st.integers(0, MAX_BITS - 1), st.integers(0, 0xFFFF)),
    st.one_of(st.integers(-2, 3), s32),
)
def test_both_paths_agree_on_an_event(
    input_policy: InputPolicy, kind: int, code: int, value: int
) -> None:
    source, acts = input_policy.ask(1, kind, code, value, size=2)
    if source == Source.ABS:
        return  # whether it acts depends on the axis
    expected = source if source != NO_SOURCE and acts else None
    assert acting(Axes(Lane.GAMEPAD, 30), kind, code, value) == expected


@many
@given(st.sampled_from(list(Lane)), st.integers(0, 0x3F), permilles)
def test_both_paths_agree_on_the_axes_of_a_lane(
    input_policy: InputPolicy, lane: Lane, code: int, permille: int
) -> None:
    answer = input_policy.ask(3, list(Lane).index(lane), code, permille, size=5)
    assert (answer[0] == 1) == is_axis(lane, code)
    assert int.from_bytes(answer[1:], "little") == axis_permille(lane, code, permille)


@many
@given(st.sampled_from(list(Lane)), s32, s32, st.lists(st.sampled_from([0, 0, 0, 128, -1])))
def test_both_paths_agree_on_a_rest(
    input_policy: InputPolicy, lane: Lane, low: int, high: int, values: list[int]
) -> None:
    answer = input_policy.ask(4, list(Lane).index(lane), low, high, int(any(values)), size=1)
    assert (answer[0] == 1) == is_rest(lane, Limits(low, high), values)


@pytest.mark.parametrize(
    ("lane", "x", "values", "rest"),
    [
        (Lane.GAMEPAD, Limits(0, 255), (0, 0, 0), False),  # through HID, before its first report
        (Lane.GAMEPAD, Limits(0, 255), (128, 128, 0), True),
        (Lane.GAMEPAD, Limits(-32768, 32767), (0, 0, 0), True),  # xpad's middle
        (Lane.GAMEPAD, Limits(0, 0), (0, 0), True),  # pedals: no X
        (Lane.MOUSE, Limits(0, 15200), (0, 0), True),  # a first tap is one report
    ],
)
def test_all_at_0_is_no_rest_where_0_is_an_end(
    lane: Lane, x: Limits, values: tuple[int, ...], rest: bool
) -> None:
    assert is_rest(lane, x, values) is rest


@pytest.mark.parametrize(
    ("lane", "code", "moves"),
    [
        (Lane.MOUSE, 0x00, True),
        (Lane.MOUSE, 0x36, True),  # a second finger
        (Lane.MOUSE, 0x18, False),  # pressure, distance, tilt: evemu-devices, Wacom pens at rest
        (Lane.MOUSE, 0x19, False),
        (Lane.MOUSE, 0x1A, False),
        (Lane.MOUSE, 0x2F, False),  # two resting fingers: the slot changes with each report
        (Lane.GAMEPAD, 0x05, True),
        (Lane.GAMEPAD, 0x17, True),
        (Lane.GAMEPAD, 0x28, False),  # xpadneo: the number of the profile
        (
            Lane.GAMEPAD,
            0x3B,
            False,
        ),  # evemu-devices, PLAYSTATION(R)3 Controller: acceleration, 0 to 1023
    ],
)
def test_only_what_a_player_moves_is_an_axis(lane: Lane, code: int, moves: bool) -> None:
    assert is_axis(lane, code) is moves


def test_only_the_rim_of_a_wheel_is_fine() -> None:
    assert axis_permille(Lane.GAMEPAD, 0x00, 10) == 10
    assert axis_permille(Lane.GAMEPAD, 0x01, 10) == DEAD_PERMILLE, "a pedal's potentiometer wanders"
    assert axis_permille(Lane.MOUSE, 0x01, 1) == 1


@pytest.mark.parametrize("word", range(KEY_WORDS))
def test_both_paths_agree_on_the_state_of_keys(input_policy: InputPolicy, word: int) -> None:
    buttons, holding = struct.unpack("<2Q", input_policy.ask(2, word, size=16))
    mask = (1 << 64) - 1
    assert buttons == BUTTONS >> 64 * word & mask
    assert holding == HOLDING >> 64 * word & mask


# Limits and values of streams that were seen, with where they are from.
IDLE = [
    # github.com/Vegz78/McAirpos issue 10: an encoder of 8 bits between 128 and 133
    ("arcade encoder", Limits(0, 255, 0, 0), 128, [133, 129, 128, 132, 130, 133]),
    # github.com/ardaku/stick issue 8: a HOTAS of 10 bits between 512 and 520
    ("HOTAS", Limits(0, 1023, 3, 63), 512, [520, 514, 519, 512, 520]),
    # drivers/hid/hid-wiimote-modules.c: the Nunchuk's accelerometer, -500 to 500, fuzz 2, flat 4
    ("Nunchuk on a table", Limits(-500, 500, 2, 4), 100, [104, 98, 103, 110, 99, 112]),
    # drivers/hid/hid-nintendo.c: sticks with fuzz 250, flat 500
    ("Pro Controller's noise", Limits(-32767, 32767, 250, 500), 0, [260, -300, 500, -420, 0]),
]
USED = [
    ("a stick", Limits(0, 255, 0, 0), 128, 255),
    ("a stick, gently", Limits(-32768, 32767, 16, 128), 0, 4000),
    ("a trigger", Limits(0, 1023, 3, 63), 0, 80),
    ("a hat of three steps", Limits(-1, 1, 0, 0), 0, -1),
    ("a hat back in its middle", Limits(-1, 1, 0, 0), 1, 0),
    ("a switch of two", Limits(0, 1, 0, 0), 0, 1),
    # input-event-codes.h, struct input_absinfo: flat is the driver's and may be anything
    ("a flat wider than the axis", Limits(0, 255, 0, 4095), 0, 255),
]


@pytest.mark.parametrize(("name", "limits", "at", "values"), IDLE, ids=[one[0] for one in IDLE])
def test_what_lies_on_a_table_never_acts(
    input_policy: InputPolicy, name: str, limits: Limits, at: int, values: list[int]
) -> None:
    for value in values:
        assert not _axis(input_policy, limits, DEAD_PERMILLE, at, value)[0], name


@pytest.mark.parametrize(("name", "limits", "at", "value"), USED, ids=[one[0] for one in USED])
def test_an_act_counts_at_once(
    input_policy: InputPolicy, name: str, limits: Limits, at: int, value: int
) -> None:
    assert _axis(input_policy, limits, DEAD_PERMILLE, at, value)[0], name


def test_repeat_is_no_act_and_unknown_keys_hold_nothing() -> None:
    axes = Axes(Lane.NONE, 0)
    assert [acting(axes, 1, 17, value) for value in (0, 1, 2)] == [Source.KEY, Source.KEY, None]
    assert not HOLDING >> 240 & 1
    assert HOLDING >> 0x14A & 1 and not HOLDING >> 0x145 & 1
