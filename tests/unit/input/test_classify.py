# SPDX-License-Identifier: GPL-2.0-only
"""The classifier over the capability bitmaps of real devices, and the parser under fuzz."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.input.classify import (
    MAX_BITS,
    Capabilities,
    CapabilityError,
    Kind,
    Lane,
    classify,
    lane_of,
    parse_bits,
)

AT_KEYBOARD = "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe"
USB_KEYBOARD = "1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe"
CONSUMER = "3f000303ff 0 0 483ffff17aff32d bfd4444600000000 1 130ff38b17c000 677bfad9415fed "
CONSUMER += "19ed68000004400 10000002"

# name, kind, then the sysfs bitmaps as a 64-bit kernel prints them.
DEVICES: list[tuple[str, Kind, dict[str, str]]] = [
    ("power button", Kind.NONE, {"key": "10000000000000 0"}),
    ("lid switch", Kind.NONE, {}),
    ("pc speaker", Kind.NONE, {}),
    ("video bus", Kind.NONE, {"key": "3e000b00000000 0 0 0"}),
    ("volume keys", Kind.NONE, {"key": "e000000000000 0"}),
    ("at keyboard", Kind.KEYBOARD, {"key": AT_KEYBOARD}),
    ("usb keyboard", Kind.KEYBOARD, {"key": USB_KEYBOARD}),
    ("keyboard's media keys", Kind.NONE, {"key": CONSUMER, "rel": "1040", "abs": "100000000"}),
    ("number pad", Kind.KEYBOARD, {"key": "100000000 fff80 0"}),
    ("ps/2 mouse", Kind.MOUSE, {"key": "70000 0 0 0 0", "rel": "3", "properties": "1"}),
    ("gaming mouse", Kind.MOUSE, {"key": "ffff0000 0 0 0 0", "rel": "1943"}),
    ("gaming mouse's keyboard interface", Kind.KEYBOARD, {"key": USB_KEYBOARD}),
    (
        "wireless mouse with macro keys in one node",
        Kind.MOUSE,
        {"key": "ffff0000 1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe"}
        | {"rel": "1943", "abs": "100000000"},
    ),
    ("trackpoint", Kind.MOUSE, {"key": "70000 0 0 0 0", "rel": "3", "properties": "21"}),
    (
        "laptop touchpad",
        Kind.TOUCHPAD,
        {"key": "e520 10000 0 0 0 0", "abs": "2e0800000000003", "properties": "5"},
    ),
    ("old touchpad", Kind.TOUCHPAD, {"key": "420 70000 0 0 0 0", "abs": "11000003"}),
    ("dualsense pad", Kind.GAMEPAD, {"key": "7fdb000000000000 0 0 0 0", "abs": "3003f"}),
    (
        "dualsense touchpad",
        Kind.TOUCHPAD,
        {"key": "2420 10000 0 0 0 0", "abs": "260800000000003", "properties": "5"},
    ),
    ("dualsense motion sensors", Kind.NONE, {"abs": "3f", "properties": "40"}),
    (
        "xbox pad",
        Kind.GAMEPAD,
        {"key": "7cdb000000000000 0 0 0 0", "abs": "3003f", "ff": "107030000 0"},
    ),
    ("pad with a digital cross only", Kind.GAMEPAD, {"key": "fdb000000000000 0 0 0 0", "abs": "3"}),
    (
        "g29 wheel",
        Kind.WHEEL,
        {"key": "1ff 0 0 0 0 0 0 ffff00000000 0 0 0 0", "abs": "30027", "ff": "300040000 0"},
    ),
    ("wheel with gear buttons", Kind.WHEEL, {"key": "30000 fff00000000 0 0 0 0", "abs": "30027"}),
    ("hotas", Kind.JOYSTICK, {"key": "ffff00000000 0 0 0 0", "abs": "30e7"}),
    (
        "force feedback stick",
        Kind.JOYSTICK,
        {"key": "ff00000000 0 0 0 0", "abs": "30063", "ff": "3004f0000 0"},
    ),
    ("pedals", Kind.JOYSTICK, {"abs": "e0"}),
    ("sensor that only its property tells", Kind.NONE, {"abs": "27", "properties": "40"}),
    (
        "keyboard with a stick",
        Kind.KEYBOARD,
        {"key": "7cdb000000000000 " + USB_KEYBOARD, "abs": "3"},
    ),
    ("old accelerometer", Kind.NONE, {"abs": "7"}),
    ("remote's accelerometer", Kind.NONE, {"abs": "38"}),
    (
        "drawing tablet's pen",
        Kind.MOUSE,
        {"key": "1c03 0 0 0 0 0", "abs": "1000f000003", "properties": "1"},
    ),
    ("drawing tablet's buttons", Kind.NONE, {"key": "800 ff 0 0 0 0", "abs": "10000000100"}),
    (
        "touchscreen",
        Kind.TOUCHPAD,
        {"key": "400 0 0 0 0 0", "abs": "260800000000003", "properties": "2"},
    ),
    ("virtual machine's pointer", Kind.MOUSE, {"key": "70000 0 0 0 0", "rel": "100", "abs": "3"}),
    (
        "virtual device with every key and button",
        Kind.KEYBOARD,
        {"key": " ".join(["ffffffffffffffff"] * 11) + " fffffffffffffffe"},
    ),
    ("nothing at all", Kind.NONE, {}),
]

LANES = {
    Kind.KEYBOARD: Lane.KEYBOARD,
    Kind.MOUSE: Lane.MOUSE,
    Kind.TOUCHPAD: Lane.MOUSE,
    Kind.GAMEPAD: Lane.GAMEPAD,
    Kind.WHEEL: Lane.GAMEPAD,
    Kind.JOYSTICK: Lane.GAMEPAD,
    Kind.NONE: Lane.NONE,
}


@pytest.mark.parametrize(("name", "kind", "text"), DEVICES, ids=[row[0] for row in DEVICES])
def test_real_devices(name: str, kind: Kind, text: dict[str, str]) -> None:
    caps = Capabilities(**{field: parse_bits(bits, 64) for field, bits in text.items()})
    assert classify(caps) is kind
    assert lane_of(classify(caps)) is LANES[kind]


@pytest.mark.parametrize(
    ("text", "word_bits", "bits"),
    [
        ("0\n", 64, set()),
        ("", 64, set()),
        ("3", 64, {0, 1}),
        ("1 0", 64, {64}),
        ("1 0", 32, {32}),
        ("10000 0 0 0 0", 64, {0x110}),
        ("8000000000000000 1", 64, {0, 127}),
    ],
)
def test_parse_bits(text: str, word_bits: int, bits: set[int]) -> None:
    assert parse_bits(text, word_bits) == bits


@pytest.mark.parametrize("text", ["x", "0x1", "-1", "1_0", "+1", "1" * 17, "٣", "1 zz"])
def test_parse_bits_refuses(text: str) -> None:
    with pytest.raises(CapabilityError):
        parse_bits(text, 64)


def test_parse_bits_refuses_a_word_too_wide() -> None:
    with pytest.raises(CapabilityError):
        parse_bits("100000000", 32)


@given(st.text(max_size=200))
def test_parser_survives_any_text(text: str) -> None:
    try:
        bits = parse_bits(text)
    except CapabilityError:
        return
    assert all(0 <= bit < MAX_BITS for bit in bits)


@given(st.sets(st.integers(0, MAX_BITS - 1)), st.sampled_from([32, 64]))
def test_parser_inverts_the_kernels_print(bits: set[int], word_bits: int) -> None:
    value = sum(1 << bit for bit in bits)
    words = []
    while value:
        words.append(f"{value & ((1 << word_bits) - 1):x}")
        value >>= word_bits
    assert parse_bits(" ".join(reversed(words)) + "\n", word_bits) == bits


codes = st.frozensets(st.integers(0, MAX_BITS - 1), max_size=40)


@given(codes, codes, codes, codes, codes)
def test_every_device_has_one_kind(
    key: frozenset[int],
    rel: frozenset[int],
    axes: frozenset[int],
    ff: frozenset[int],
    properties: frozenset[int],
) -> None:
    kind = classify(Capabilities(key=key, rel=rel, abs=axes, ff=ff, properties=properties))
    assert isinstance(kind, Kind)
    if not key and not axes:
        assert kind is Kind.NONE
