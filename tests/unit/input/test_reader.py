# SPDX-License-Identifier: GPL-2.0-only
"""Batches of raw events, and what counts as off its rest."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.input import Kind
from scx_gamer.input.reader import Batch, make_axis, parse_batch, spring_axes

EVENT = struct.Struct("llHHi")
DROPPED = (0, 3)


def test_no_event() -> None:
    assert parse_batch(b"") == Batch(0, 0, False)


def test_last_stamp() -> None:
    data = EVENT.pack(1, 2, 2, 0, 5) + EVENT.pack(3, 4, 0, 0, 0)
    assert parse_batch(data) == Batch(2, 3_000_004_000, False)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**40),
            st.integers(0, 999_999),
            st.integers(0, 0x1F),
            st.integers(0, 0x2FF),
            st.integers(-(2**31), 2**31 - 1),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_lost_events_are_found(events: list[tuple[int, int, int, int, int]]) -> None:
    batch = parse_batch(b"".join(EVENT.pack(*event) for event in events))
    assert batch.count == len(events)
    assert batch.dropped == any(event[2:4] == DROPPED for event in events)


def test_values_that_look_like_lost_events() -> None:
    assert not parse_batch(EVENT.pack(0x30000, 0x30000, 1, 30, 0x30000)).dropped
    assert parse_batch(EVENT.pack(0x30000, 0x30000, 1, 30, 0) + EVENT.pack(0, 0, 0, 3, 0)).dropped


def test_stick() -> None:
    axis = make_axis(0, 0, 255, 15, trigger=False)
    assert axis is not None
    assert [axis.off(value) for value in (0, 110, 128, 140, 145, 255)] == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]


def test_trigger_rests_at_its_minimum() -> None:
    axis = make_axis(2, 0, 255, 0, trigger=True)
    assert axis is not None
    assert [axis.off(value) for value in (0, 20, 30, 255)] == [False, False, True, True]


def test_axis_without_a_range() -> None:
    assert make_axis(0, 0, 0, 0, trigger=False) is None


def test_spring_axes() -> None:
    assert spring_axes(Kind.GAMEPAD, frozenset({0, 1, 2, 5})) == {
        0: False,
        1: False,
        2: False,
        5: False,
    }
    with_right_stick = spring_axes(Kind.GAMEPAD, frozenset({0, 1, 2, 3, 4, 5}))
    assert with_right_stick == {0: False, 1: False, 2: True, 3: False, 4: False, 5: True}
    assert spring_axes(Kind.JOYSTICK, frozenset({0, 1, 6})) == {0: False, 1: False}  # no throttle
    assert spring_axes(Kind.TOUCHPAD, frozenset({0, 1})) == {}
