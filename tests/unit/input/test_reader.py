# SPDX-License-Identifier: GPL-2.0-or-later
"""Batches of raw events: which of them are acts, and whether some were lost."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.input.acts import DEAD_PERMILLE, Axes, Limits, Source
from scx_gamer.input.classify import Lane
from scx_gamer.input.reader import NO_BATCH, Batch, parse_batch

EVENT = struct.Struct("llHHi")
DROPPED = (0, 3)
KEY, REL, ABS = 1, 2, 3


def axes() -> Axes:
    """A stick of eight bits that is in its middle."""
    made = Axes(Lane.GAMEPAD, DEAD_PERMILLE)
    made.learn(0, Limits(0, 255), 128)
    return made


def events(*rows: tuple[int, int, int]) -> bytes:
    """Rows of type, code and value, a second apart."""
    return b"".join(EVENT.pack(at, 5, *row) for at, row in enumerate(rows, 1))


def test_no_event() -> None:
    assert parse_batch(b"", axes()) == NO_BATCH


def test_the_last_act_of_each_source() -> None:
    data = events(
        (KEY, 30, 1), (REL, 0, 3), (KEY, 0x110, 1), (REL, 0, -1), (ABS, 0, 255), (0, 0, 0)
    )
    assert parse_batch(data, axes()) == Batch(
        6,
        False,
        {
            Source.KEY: 1_000_005_000,
            Source.BUTTON: 3_000_005_000,
            Source.REL: 4_000_005_000,
            Source.ABS: 5_000_005_000,
        },
    )


def test_what_no_player_does_is_no_act() -> None:
    noise = [(ABS, 0, value) for value in (133, 128, 124, 131)]
    repeat, nothing, scan, light = (KEY, 30, 2), (REL, 0, 0), (4, 4, 7), (0x11, 0, 1)
    data = events(*noise, repeat, nothing, scan, light, (0, 0, 0))
    assert parse_batch(data, axes()) == Batch(9, False, {})


def test_the_first_report_of_a_silent_controller_is_no_act() -> None:
    silent = Axes(Lane.GAMEPAD, DEAD_PERMILLE)
    for code in (0, 1, 2):
        silent.learn(code, Limits(0, 255), 0)
    silent.begin(Limits(0, 255))
    press = events((KEY, 0x130, 1), (0, 0, 0))
    assert parse_batch(press, silent).acted, "a key is one whatever is known of the axes"
    assert not parse_batch(events((ABS, 0, 128), (ABS, 1, 127), (0, 0, 0)), silent).acted
    assert parse_batch(events((ABS, 0, 255), (0, 0, 0)), silent).acted
    assert parse_batch(events((ABS, 2, 255), (0, 0, 0)), silent).acted, "a trigger rests at 0"


def test_a_slow_move_counts_once_a_dead_zone() -> None:
    known, acts = axes(), 0
    for value in range(128, 229):
        acts += Source.ABS in parse_batch(events((ABS, 0, value)), known).acted
    assert 8 <= acts <= 12


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
    ),
    st.binary(max_size=EVENT.size - 1),
)
def test_lost_events_are_found(rows: list[tuple[int, int, int, int, int]], torn: bytes) -> None:
    batch = parse_batch(b"".join(EVENT.pack(*row) for row in rows) + torn, axes())
    assert batch.events == len(rows)
    assert batch.dropped == any(row[2:4] == DROPPED for row in rows)
    assert set(batch.acted) <= set(Source)
