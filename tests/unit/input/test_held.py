# SPDX-License-Identifier: GPL-2.0-or-later
"""Held keys and axes, polled four times a second, on layouts of real devices at rest and in use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.input.acts import Limits
from scx_gamer.input.classify import Capabilities, Kind
from scx_gamer.input.held import CAP_NS, PARKED_NS, REST_NS, Held, HeldState, held_axes

SECOND = 1_000_000_000
X, Y, Z, RX, RY, RZ, GAS, BRAKE, HAT0X, HAT0Y = 0, 1, 2, 3, 4, 5, 9, 10, 16, 17
U8, U8_FLAT, S16, HAT = (
    Limits(0, 255),
    Limits(0, 255, 0, 15),
    Limits(-32768, 32767, 16, 128),
    Limits(-1, 1),
)
U10 = Limits(0, 1023, 3, 63)

# hid-playstation, xpad: triggers on Z and RZ beside a right stick on RX and RY
SONY = {X: U8, Y: U8, Z: U8, RX: U8, RY: U8, RZ: U8, HAT0X: HAT, HAT0Y: HAT}
SONY_REST = {X: 128, Y: 128, Z: 0, RX: 128, RY: 128, RZ: 0, HAT0X: 0, HAT0Y: 0}
XBOX = {X: S16, Y: S16, Z: U8, RX: S16, RY: S16, RZ: U8, HAT0X: HAT, HAT0Y: HAT}
XBOX_REST = dict.fromkeys(XBOX, 0)
# the same report through hid-generic: SDL_gamepad_db.h has rightx:a2, righty:a5, lefttrigger:a3, righttrigger:a4
GENERIC = dict.fromkeys(SONY, U8_FLAT) | {HAT0X: HAT, HAT0Y: HAT}
GENERIC_REST = {X: 128, Y: 128, Z: 128, RX: 0, RY: 0, RZ: 128, HAT0X: 0, HAT0Y: 0}
# Bluetooth pads of Microsoft, Google, 8BitDo: SDL_gamepad_db.h has triggers on a9 and a10
PEDALS = {X: S16, Y: S16, Z: S16, RZ: S16, GAS: U10, BRAKE: U10, HAT0X: HAT, HAT0Y: HAT}
PEDALS_REST = dict.fromkeys(PEDALS, 0)
# hid-steam: pads on the hats, triggers on HAT2
DECK = {
    X: S16,
    Y: S16,
    RX: S16,
    RY: S16,
    HAT0X: S16,
    HAT0Y: S16,
    20: Limits(0, 32767),
    21: Limits(0, 32767),
}
DECK_REST = dict.fromkeys(DECK, 0)
# hid-wiimote: the balance board's four weights, the Nunchuk's stick and accelerometer
BOARD = dict.fromkeys(range(16, 20), Limits(0, 65535, 2, 4))
NUNCHUK = {HAT0X: Limits(-120, 120, 2, 4), HAT0Y: Limits(-120, 120, 2, 4)} | dict.fromkeys(
    (RX, RY, RZ), Limits(-500, 500, 2, 4)
)
FOUR = dict.fromkeys((X, Y, Z, RZ), U8)
LEVERS = {X: U10, Y: U10, RX: U10, RY: U10}
WHEEL = {X: Limits(0, 65535, 255, 4095), Y: U8_FLAT}


def poll(
    kind: Kind,
    limits: Mapping[int, Limits],
    states: Iterable[tuple[int, Mapping[int, int]]],
    rest: Mapping[int, int] | None = None,
) -> list[Held]:
    """One answer for each state of keys and values, a quarter of a second apart; `rest` was noted before."""
    used = {
        code: one
        for code, one in limits.items()
        if code in held_axes(kind, Capabilities(abs=frozenset(limits)))
    }
    state, now, answers = HeldState(kind, used), 10**12, []
    state.note_rest(rest or {})
    for keys, values in states:
        answers.append(state.update(now, keys, {code: values[code] for code in used}))
        now += SECOND // 4
    return answers


def steady(
    kind: Kind,
    limits: Mapping[int, Limits],
    values: Mapping[int, int],
    seconds: float,
    keys: int = 0,
) -> bool:
    return bool(poll(kind, limits, [(keys, values)] * (int(seconds * 4) + 1))[-1])


REST = [
    ("DualSense", Kind.GAMEPAD, SONY, SONY_REST),
    ("DualShock 4 through hid-generic", Kind.GAMEPAD, GENERIC, GENERIC_REST),
    ("Xbox pad", Kind.GAMEPAD, XBOX, XBOX_REST),
    ("Stadia pad", Kind.GAMEPAD, PEDALS, PEDALS_REST),
    ("Steam Deck", Kind.GAMEPAD, DECK, DECK_REST),
    ("balance board", Kind.GAMEPAD, BOARD, dict.fromkeys(BOARD, 0)),
    ("pad that has reported nothing", Kind.GAMEPAD, GENERIC, dict.fromkeys(GENERIC, 0)),
    ("pad with a right stick on Z and RZ", Kind.GAMEPAD, FOUR, {X: 128, Y: 127, Z: 128, RZ: 128}),
    ("pad with triggers and no right stick", Kind.GAMEPAD, FOUR, {X: 128, Y: 127, Z: 0, RZ: 0}),
    ("Nunchuk on a table", Kind.GAMEPAD, NUNCHUK, {HAT0X: 0, HAT0Y: 0, RX: 4, RY: -6, RZ: 100}),
    ("all four in their middle", Kind.GAMEPAD, GENERIC, dict.fromkeys(GENERIC, 128) | {HAT0X: 0, HAT0Y: 0}),
]  # fmt: skip

USED = [
    ("trigger of a DualSense", Kind.GAMEPAD, SONY, SONY_REST | {RZ: 255}),
    ("right stick of a DualSense", Kind.GAMEPAD, SONY, SONY_REST | {RX: 255}),
    ("trigger through hid-generic", Kind.GAMEPAD, GENERIC, GENERIC_REST | {RY: 255}),
    ("right stick through hid-generic", Kind.GAMEPAD, GENERIC, GENERIC_REST | {Z: 0}),
    ("stick of an Xbox pad", Kind.GAMEPAD, XBOX, XBOX_REST | {Y: -32768}),
    ("trigger of an Xbox pad", Kind.GAMEPAD, XBOX, XBOX_REST | {Z: 255}),
    ("GAS of a Stadia pad", Kind.GAMEPAD, PEDALS, PEDALS_REST | {GAS: 1023}),
    ("right stick of a Stadia pad", Kind.GAMEPAD, PEDALS, PEDALS_REST | {RZ: 32767}),
    ("trigger of a Steam Deck", Kind.GAMEPAD, DECK, DECK_REST | {21: 32767}),
    ("touch of a Steam Deck's pad", Kind.GAMEPAD, DECK, DECK_REST | {HAT0X: -20000}),
    ("hat", Kind.GAMEPAD, XBOX, XBOX_REST | {HAT0Y: 1}),
    ("stick half way", Kind.GAMEPAD, XBOX, XBOX_REST | {X: 16000}),
]


@pytest.mark.parametrize(("name", "kind", "limits", "values"), REST, ids=[one[0] for one in REST])
def test_rest_holds_nothing_from_the_first_look(
    name: str, kind: Kind, limits: dict[int, Limits], values: dict[int, int]
) -> None:
    assert not any(poll(kind, limits, [(0, values)] * 120)), name


@pytest.mark.parametrize(("name", "kind", "limits", "values"), USED, ids=[one[0] for one in USED])
def test_use_holds_at_once_and_for_long(
    name: str, kind: Kind, limits: dict[int, Limits], values: dict[int, int]
) -> None:
    assert all(poll(kind, limits, [(0, values)] * 240)), name


def test_a_held_stick_is_let_go_of_after_the_cap() -> None:
    values = XBOX_REST | {Y: -32768}
    assert steady(Kind.GAMEPAD, XBOX, values, CAP_NS / SECOND - 1)
    assert not steady(Kind.GAMEPAD, XBOX, values, CAP_NS / SECOND)
    # And the middle is rest again, whatever was learnt.
    longest = [(0, values)] * (4 * CAP_NS // SECOND + 4)
    assert not poll(Kind.GAMEPAD, XBOX, [*longest, (0, XBOX_REST)])[-1]
    assert poll(Kind.GAMEPAD, XBOX, [*longest, (0, XBOX_REST | {X: 32767})])[-1]


@pytest.mark.parametrize("drift", [4600, -6000, 9000])
def test_a_drifting_stick_is_rest_once_it_was_watched(drift: int) -> None:
    jitter = [(0, XBOX_REST | {X: drift + (i * 37) % 300 - 150}) for i in range(48)]
    assert not any(poll(Kind.GAMEPAD, XBOX, jitter)), "it was there at the first look"
    late = poll(Kind.GAMEPAD, XBOX, [(0, XBOX_REST | {Y: 300}), *jitter])
    assert late[1] and not late[-1], "it went there, and stayed"
    assert poll(Kind.GAMEPAD, XBOX, [*jitter, (0, XBOX_REST | {X: 30000})])[-1]


@pytest.mark.parametrize(
    ("kind", "limits", "values"),
    [
        (Kind.JOYSTICK, LEVERS, {X: 512, Y: 512, RX: 100, RY: 900}),  # rotaries, parked
        (Kind.JOYSTICK, NUNCHUK, {HAT0X: 0, HAT0Y: 0, RX: 20, RY: 40, RZ: 210}),  # gravity
        (Kind.WHEEL, WHEEL, {X: 40000, Y: 255}),  # left where it was, pedal up
    ],
)
def test_levers_rest_where_they_are(
    kind: Kind, limits: dict[int, Limits], values: dict[int, int]
) -> None:
    assert not poll(Kind.JOYSTICK, NUNCHUK, [(0, {HAT0X: 0, HAT0Y: 0, RX: 20, RY: 40, RZ: 210})])[0]
    first = min(values)
    jitter = [
        (0, values | {first: values[first] + i % 3}) for i in range(4 * REST_NS // SECOND + 4)
    ]
    assert not poll(kind, limits, jitter)[-1]
    moved = values | {first: limits[first].maximum}
    assert poll(kind, limits, [*jitter, (0, moved)])[-1]


# drivers/input/joystick/adc-joystick.c: raw readings, whose middle is 13 % off that of the limits
RAW = dict.fromkeys((X, Y, RX, RY), Limits(180, 3700, 8, 32))
# drivers/hid/hid-lg4ff.c: pedals that rest at 255
PEDALLED = {X: Limits(0, 65535), Y: U8, Z: U8, RZ: U8}
FIRST = [
    (Kind.GAMEPAD, RAW, dict.fromkeys(RAW, 1700), {RY: 3600}),
    (Kind.JOYSTICK, LEVERS, {X: 512, Y: 512, RX: 500, RY: 120}, {RY: 1000}),
    (Kind.WHEEL, PEDALLED, {X: 32767, Y: 255, Z: 255, RZ: 255}, {Z: 0}),
]


@pytest.mark.parametrize(("kind", "limits", "rest", "used"), FIRST)
def test_a_device_first_seen_in_use_is_at_rest_where_it_was_before(
    kind: Kind, limits: dict[int, Limits], rest: dict[int, int], used: dict[int, int]
) -> None:
    """Its rest was noted before its node was opened, if it had reported anything."""
    polls = [(0, rest | used)] * 8 + [(0, rest)]
    seen = poll(kind, limits, polls, rest)
    assert all(seen[:-1]) and not seen[-1]
    assert not poll(kind, limits, [(0, rest)], rest)[0]
    unknown = poll(kind, limits, polls, dict.fromkeys(rest, 0))[-1]
    assert bool(unknown) == (kind is not Kind.WHEEL), "all 0 says nothing of its rest"


def test_a_stick_without_a_known_rest_is_let_go_of_soon() -> None:
    kind, limits, rest, used = FIRST[0]
    polls = [(0, rest | used)] * 8 + [(0, rest)] * (4 * PARKED_NS // SECOND + 1)
    assert not poll(kind, limits, polls)[-1]
    assert PARKED_NS < REST_NS / 2


def test_a_pedal_is_held_for_long_and_rests_at_either_end() -> None:
    kind, limits, rest, used = FIRST[2]
    pressed = poll(kind, limits, [(0, rest), *[(0, rest | used)] * 36, (0, rest)])
    assert not pressed[0] and all(pressed[1:-1]) and not pressed[-1]


@pytest.mark.parametrize("end", [0, 255])
@pytest.mark.parametrize("gas", [90, 128, 165])
def test_a_pedal_first_seen_in_use_rests_where_the_others_do(end: int, gas: int) -> None:
    up = {X: 32767, Y: end, Z: end, RZ: end}
    seen = poll(Kind.WHEEL, PEDALLED, [(0, up | {Y: gas})] * 8 + [(0, up)])
    assert all(seen[:-1]) and not seen[-1]
    # Nor is it held where it returns to, however long it was pressed.
    longest = [(0, up | {Y: 255 - end})] * (4 * REST_NS // SECOND + 8)
    seen = poll(Kind.WHEEL, PEDALLED, [*longest, (0, up)])
    assert all(seen[: 4 * REST_NS // SECOND]) and not seen[-2] and not seen[-1]


def test_a_toggle_switch_is_rest_and_a_button_beside_it_is_not() -> None:
    switch, trigger = 1 << 706, 1 << 0x120
    levers = {X: 512, Y: 512, RX: 512, RY: 512}
    rest = [(switch, levers)] * (4 * REST_NS // SECOND + 2)
    assert not poll(Kind.JOYSTICK, LEVERS, rest)[-1]
    assert poll(Kind.JOYSTICK, LEVERS, [*rest, (switch | trigger, levers)])[-1] == Held(
        buttons=True
    )


def test_keys() -> None:
    assert steady(Kind.KEYBOARD, {}, {}, 60, keys=1 << 17)
    assert poll(Kind.KEYBOARD, {}, [(1 << 17, {})])[0] == Held(keys=True)
    assert poll(Kind.MOUSE, {}, [(1 << 0x110, {})])[0] == Held(buttons=True)
    assert not steady(Kind.KEYBOARD, {}, {}, CAP_NS / SECOND, keys=1 << 17)
    # A weight on one key hides no other.
    weight: list[tuple[int, dict[int, int]]] = [(1 << 17, {})] * (4 * CAP_NS // SECOND + 2)
    assert poll(Kind.KEYBOARD, {}, [*weight, (1 << 17 | 1 << 30, {})])[-1]


@pytest.mark.parametrize("code", [0, 240, 0x140, 0x145, 0x14F])
def test_what_is_no_key_of_a_player_holds_nothing(code: int) -> None:
    """KEY_UNKNOWN is down for good on an Elite 2 over Bluetooth; a tool is near."""
    assert not steady(Kind.GAMEPAD, XBOX, XBOX_REST, 0, keys=1 << code)


def test_the_stick_of_a_keyboard_is_held() -> None:
    caps = Capabilities(key=frozenset({0x130, 0x131}), abs=frozenset({X, Y}))
    assert held_axes(Kind.KEYBOARD, caps) == {X, Y}
    assert held_axes(Kind.KEYBOARD, Capabilities(abs=frozenset({X, Y}))) == frozenset()
    assert held_axes(Kind.TOUCHPAD, caps) == frozenset()


limits_of = st.builds(
    lambda low, way, fuzz, flat: Limits(low, low + way, fuzz, flat),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-5, 2**32),
    st.integers(-10, 2**31 - 1),
    st.integers(-10, 2**31 - 1),
)


@settings(deadline=None)
@given(
    st.sampled_from(list(Kind)),
    st.dictionaries(st.integers(0, 0x17), limits_of, max_size=10),
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20),
    st.integers(0, 2**768 - 1),
)
def test_any_device_comes_to_rest(
    kind: Kind, limits: dict[int, Limits], values: list[int], keys: int
) -> None:
    """A state that stays is rest in the end, for any limits that a driver gives."""
    state = HeldState(kind, limits)
    for step, value in enumerate(values):
        state.update(step * SECOND, keys, dict.fromkeys(limits, value))
    for later in (len(values) * SECOND, len(values) * SECOND + CAP_NS):
        held = state.update(later, keys, dict.fromkeys(limits, values[-1]))
    assert held == Held()
