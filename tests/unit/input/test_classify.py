# SPDX-License-Identifier: GPL-2.0-or-later
"""The classifier over the capability bitmaps of real devices, any sets of bits, and the parser under fuzz."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.input.classify import (
    BTN_GAMEPAD,
    BTN_JOYSTICK,
    BTN_MOUSE,
    BTN_TOOLS,
    GAME_AXES,
    LETTERS,
    MAX_BITS,
    Capabilities,
    CapabilityError,
    Facts,
    Kind,
    Lane,
    Lanes,
    classify,
    lane_of,
    lanes_of,
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


def codes(*parts: int | range) -> frozenset[int]:
    """Codes and ranges of codes as one set."""
    return frozenset(code for part in parts for code in ([part] if isinstance(part, int) else part))


PAD = codes(range(0x130, 0x13F))
STICKS = codes(0, 1, 2, 5, 9, 10, 16, 17)
ARROWS = codes(103, 105, 106, 108)
KEYS = codes(range(1, 89))  # Escape to F12: a whole keyboard
RUMBLE = codes(0x50, 0x51, 0x52, 0x58, 0x59, 0x5A, 0x60)
POINTING = Capabilities(key=codes(range(0x110, 0x115)), rel=codes(0, 1, 8))

# Kind of fault, name with source, kind wanted, bits. What is not cited is the driver's in the kernel.
KINDS: list[tuple[str, str, Kind, Capabilities]] = [
    ("axes only", "hid-generic rudder pedals with toe brakes", Kind.JOYSTICK, Capabilities(abs=codes(0, 1, 5))),
    ("axes only", "handbrake of one axis", Kind.JOYSTICK, Capabilities(abs=codes(0))),
    ("axes only", "load cell brake on Z", Kind.JOYSTICK, Capabilities(abs=codes(2))),
    ("axes only", "adc-joystick.yaml: two sticks of a handheld", Kind.GAMEPAD, Capabilities(abs=codes(0, 1, 3, 4))),
    ("axes only", "wheel base without a rim, hid-universal-pidff", Kind.WHEEL,
     Capabilities(abs=codes(0), ff=codes(0x52, 0x61))),
    ("axes only", "force feedback pedals", Kind.JOYSTICK, Capabilities(abs=codes(0, 1, 2), ff=codes(0x52))),
    ("sensor", "accelerometer of a laptop, hp_accel", Kind.NONE, Capabilities(abs=codes(0, 1, 2))),
    ("sensor", "gyroscope, hid-wiimote", Kind.NONE, Capabilities(abs=codes(3, 4, 5))),
    ("sensor", "six axes, hid-nintendo before its property", Kind.NONE, Capabilities(abs=codes(range(6)))),
    ("sensor", "infra-red camera on the hats, hid-wiimote", Kind.NONE, Capabilities(abs=codes(range(0x10, 0x18)))),
    ("sensor", "accelerometer by its property", Kind.NONE,
     Capabilities(key=PAD, abs=STICKS, properties=codes(6))),
    ("buttons only", "quiz buzzers of 20 buttons, systemd issue 6137", Kind.JOYSTICK,
     Capabilities(key=codes(range(0x120, 0x130), range(0x2C0, 0x2C4)))),
    ("buttons only", "gpio-keys of a handheld", Kind.GAMEPAD,
     Capabilities(key=codes(0x130, 0x131, 0x133, 0x134, 0x136, 0x137, range(0x220, 0x224)))),
    ("buttons only", "remote with arrows, hid-wiimote", Kind.GAMEPAD,
     Capabilities(key=codes(0x101, 0x102, 0x130, 0x131, 0x13C) | ARROWS)),
    ("buttons only", "drum kit, hid-wiimote", Kind.GAMEPAD,
     Capabilities(key=codes(0x130, 0x131, 0x133, 0x134, 0x136, 0x137, 0x13B))),
    ("pad and keyboard in one", "Elite 2 over Bluetooth", Kind.GAMEPAD,
     Capabilities(key=PAD | KEYS | codes(240), abs=STICKS, ff=RUMBLE)),
    ("pad and keyboard in one", "the same without rumble", Kind.GAMEPAD,
     Capabilities(key=PAD | KEYS, abs=STICKS)),
    ("pad and keyboard in one", "keyboard with a stick", Kind.KEYBOARD,
     Capabilities(key=PAD | KEYS, abs=codes(0, 1))),
    ("spill", "arcade panel of 27 buttons, recalbox-os issue 524", Kind.GAMEPAD,
     Capabilities(key=codes(range(0x130, 0x14B)), abs=codes(0, 1))),
    ("spill", "pad of 17 buttons", Kind.GAMEPAD, Capabilities(key=codes(range(0x130, 0x141)), abs=codes(0, 1))),
    ("tablet pad", "eleven buttons and a ring, wacom_wac.c", Kind.NONE,
     Capabilities(key=codes(range(0x100, 0x10A), 0x130, 0x14B), abs=codes(0, 1, 8, 0x28))),
    ("tablet pad", "with gear buttons", Kind.NONE,
     Capabilities(key=codes(range(0x100, 0x10A), range(0x130, 0x136), 0x150, 0x151, 0x14B), abs=codes(0, 1))),
    ("tablet pad", "a pencil for a marker, hid-uclogic", Kind.NONE,
     Capabilities(key=codes(range(0x100, 0x10A), 0x130, 0x143), abs=codes(0, 1), rel=codes(8, 11))),
    ("tablet pad", "twelve numbered buttons and nothing else", Kind.NONE,
     Capabilities(key=codes(range(0x100, 0x10A), 0x130, 0x131))),
    ("stray", "keyboard with BTN_STYLUS among its bits", Kind.KEYBOARD, Capabilities(key=KEYS | codes(0x14B))),
    ("pen", "pen of a tablet", Kind.MOUSE, Capabilities(key=codes(0x140, 0x141, 0x14A, 0x14B), abs=codes(0, 1, 0x18))),
    ("stray", "headset, usages counted through all buttons", Kind.NONE,
     Capabilities(key=codes(range(0x100, 0x13B), 114, 115), abs=codes(range(0x28, 0x40)))),
    ("stray", "the same with axes of touch and BTN_TOUCH", Kind.NONE,
     Capabilities(key=codes(range(0x100, 0x150), 113, 114, 115), abs=codes(range(0x28, 0x40)))),
    ("stray", "laptop hot keys with BTN_THUMB, systemd issue 16711", Kind.NONE,
     Capabilities(key=codes(0x121, 113, 114, 115, 148, 149))),
    ("stray", "keyboard's media node with BTN_TRIGGER, BTN_TOP2, BTN_PINKIE, BTN_BASE, systemd pull request 23016",
     Kind.NONE, Capabilities(key=codes(0x120, 0x124, 0x125, 0x126, 113, 114, 115, 163, 164), abs=codes(0x20))),
    ("stray", "ABS_MISC for a battery", Kind.NONE, Capabilities(abs=codes(0x28))),
    ("stray", "a vibrator", Kind.NONE, Capabilities(ff=codes(0x50))),
    ("mouse", "more than 16 buttons run into BTN_JOYSTICK, systemd pull request 8493", Kind.MOUSE,
     Capabilities(key=codes(range(0x110, 0x124)), rel=codes(0, 1, 8))),
    ("mouse", "pointing stick whose buttons are elsewhere", Kind.MOUSE,
     Capabilities(rel=codes(0, 1), properties=codes(0, 5))),
    ("touch", "touch screen without BTN_TOUCH", Kind.TOUCHPAD,
     Capabilities(abs=codes(0, 1, 0x2F, 0x35, 0x36, 0x39), properties=codes(1))),
    ("touch", "touchpad without a key, SDL test/testevdev.c", Kind.TOUCHPAD,
     Capabilities(abs=codes(0, 1), properties=codes(0, 2))),
    ("keyboard", "gaming keys, hid-lg-g15", Kind.KEYBOARD, Capabilities(key=codes(range(0x290, 0x2A2)))),
    ("numbered", "RC receiver, fsia6b", Kind.JOYSTICK,
     Capabilities(key=codes(range(0x100, 0x109)), abs=codes(range(6), range(0x10, 0x18)))),
    ("numbered", "touch strip of a tablet, wacom-hid-descriptors", Kind.NONE,
     Capabilities(key=codes(0x100), abs=codes(0, 1, 3, 4, 0x28))),
    ("pad", "sticks on the hats, hid-wiimote's Classic Controller", Kind.GAMEPAD,
     Capabilities(key=codes(0x130, 0x131, 0x133, 0x134, 0x136, 0x137) | ARROWS, abs=codes(range(0x12, 0x18)))),
    ("pad", "grips on the gear buttons, hid-steam", Kind.GAMEPAD,
     Capabilities(key=PAD | codes(0x121, 0x122, 0x150, 0x151), abs=codes(0, 1, 3, 4, 0x10, 0x11, 0x14, 0x15))),
    ("wheel", "shifter on the gear buttons, walkera0701", Kind.WHEEL,
     Capabilities(key=codes(0x150), abs=codes(0, 1, 2, 6, 7))),
    ("keyboard", "arcade encoder that types", Kind.KEYBOARD, Capabilities(key=ARROWS | codes(29, 42, 56, 57, 2, 6))),
    ("keyboard", "remote control with arrows and digits", Kind.NONE,
     Capabilities(key=ARROWS | codes(range(2, 12), 28, 113, 114, 115))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "name", "kind", "caps"), KINDS, ids=[f"{row[0]}: {row[1]}" for row in KINDS]
)
def test_kinds_of_devices(fault: str, name: str, kind: Kind, caps: Capabilities) -> None:
    assert classify(caps) is kind


CONTROLLER = Facts(controller=True)


@pytest.mark.parametrize(
    ("caps", "facts", "kind"),
    [
        (Capabilities(abs=codes(0, 1, 2)), CONTROLLER, Kind.JOYSTICK),  # pedals, as a sensor looks
        (Capabilities(abs=codes(0, 1)), CONTROLLER, Kind.JOYSTICK),
        (Capabilities(key=codes(0x120)), CONTROLLER, Kind.JOYSTICK),  # one foot switch
        (Capabilities(key=codes(0x120)), Facts(), Kind.NONE),
        # Nor does a claim make one of a device that has nothing of it, or is something else.
        (Capabilities(), CONTROLLER, Kind.NONE),
        (Capabilities(key=codes(113, 114, 115, 0x121)), CONTROLLER, Kind.NONE),
        (Capabilities(key=KEYS), CONTROLLER, Kind.KEYBOARD),
        (POINTING, CONTROLLER, Kind.MOUSE),
        (Capabilities(abs=codes(0, 1, 2), properties=codes(6)), CONTROLLER, Kind.NONE),
        (Capabilities(key=PAD, abs=STICKS), Facts(sensor=True), Kind.NONE),
        (Capabilities(key=PAD, abs=STICKS), Facts(tablet_pad=True), Kind.NONE),
    ],
)
def test_claims_of_udev_and_hid(caps: Capabilities, facts: Facts, kind: Kind) -> None:
    assert classify(caps, facts) is kind


K, M, G, N = Lane.KEYBOARD, Lane.MOUSE, Lane.GAMEPAD, Lane.NONE


@pytest.mark.parametrize(
    ("caps", "lanes"),
    [
        (Capabilities(key=KEYS), Lanes(K, K, K, N)),
        (Capabilities(key=KEYS, abs=codes(0x20, 0x28)), Lanes(K, K, K, N)),
        # one node for a keyboard and its pointer
        (Capabilities(key=KEYS | POINTING.key, rel=POINTING.rel, abs=codes(0x20)), Lanes(K, M, M, N)),
        (Capabilities(key=KEYS | codes(0x110, 0x14A), abs=codes(0, 1)), Lanes(K, M, M, M)),
        (POINTING, Lanes(M, M, M, N)),
        # a tablet in the node of its mouse (aiptek of libinput's tests), fingers on a mouse
        (replace(POINTING, abs=codes(0, 1, 0x18, 0x1A, 0x1B)), Lanes(M, M, M, M)),
        (replace(POINTING, abs=codes(0x2F, 0x30, 0x35, 0x36, 0x39)), Lanes(M, M, M, N)),
        (Capabilities(key=KEYS | PAD, abs=codes(0, 1)), Lanes(K, G, K, G)),
        (Capabilities(key=PAD | KEYS, abs=STICKS, ff=RUMBLE), Lanes(G, G, G, G)),
        (Capabilities(key=codes(0x110), abs=codes(0, 1)), Lanes(M, M, M, M)),
        (Capabilities(key=codes(116)), Lanes(N, N, N, N)),
    ],
)  # fmt: skip
def test_the_lane_follows_the_source_of_the_event(caps: Capabilities, lanes: Lanes) -> None:
    assert lanes_of(classify(caps), caps) == lanes


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


def _field() -> list[list[str]]:
    text = Path(__file__).with_name("field.tsv").read_text()
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("row", _field(), ids=lambda row: f"{row[1]}: {row[2]}")
def test_devices_in_the_field(row: list[str]) -> None:
    lane, _source, _name, claim, *bitmaps = row
    key, rel, axes, ff, properties = (parse_bits(bits, 64) for bits in bitmaps)
    caps = Capabilities(key, rel, axes, ff, properties)
    assert lane_of(classify(caps, Facts(controller=claim == "HID"))) == lane


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


# Any code, and again those that the rules look at, singly and in whole ranges, so that every rule is reached.
single = st.one_of(
    st.integers(0, MAX_BITS - 1),
    st.sampled_from(sorted({*LETTERS, *BTN_MOUSE, *BTN_JOYSTICK, *BTN_GAMEPAD, *BTN_TOOLS, 0x150})),
)
runs = st.tuples(st.sampled_from([1, 16, 0x100, 0x120, 0x130, 0x2C0]), st.integers(0, 64)).map(
    lambda run: frozenset(range(run[0], min(run[0] + run[1], MAX_BITS)))
)
keys = st.builds(
    frozenset.union, st.frozensets(single, max_size=40), st.one_of(st.just(frozenset()), runs)
)
axis_sets = st.frozensets(
    st.one_of(st.integers(0, 0x3F), st.sampled_from(sorted(GAME_AXES))), max_size=20
)
few = st.frozensets(st.integers(0, 0x7F), max_size=12)
everything = st.builds(Capabilities, key=keys, rel=few, abs=axis_sets, ff=few, properties=few)
claims = st.builds(Facts, st.booleans(), st.booleans(), st.booleans())


@settings(max_examples=400, deadline=None)
@given(everything, claims, st.randoms(use_true_random=False))
def test_every_device_has_one_kind_and_lanes(
    caps: Capabilities, facts: Facts, random: Random
) -> None:
    kind = classify(caps, facts)
    assert isinstance(kind, Kind)
    lanes = lanes_of(kind, caps)
    if kind is Kind.NONE:
        assert lanes == Lanes.all_of(Lane.NONE)
    else:
        assert lane_of(kind) in lanes.each()
        assert caps.key or caps.abs or caps.rel, "a device without an event has no lane"

    def shuffled(bits: frozenset[int]) -> frozenset[int]:
        order = sorted(bits)
        random.shuffle(order)
        return frozenset(order)

    again = Capabilities(
        *(shuffled(bits) for bits in (caps.key, caps.rel, caps.abs, caps.ff, caps.properties))
    )
    assert classify(again, facts) is kind


@given(everything)
def test_a_sensor_by_its_property_never_has_a_lane(caps: Capabilities) -> None:
    assert classify(replace(caps, properties=caps.properties | {6})) is Kind.NONE
