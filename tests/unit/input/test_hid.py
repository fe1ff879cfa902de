# SPDX-License-Identifier: GPL-2.0-or-later
"""Applications of HID report descriptors, whole ones and any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.input.hid import applications, is_controller

# Items of HID 1.11, appendix E: a keyboard, a mouse; then a joystick, a pad with a keyboard after it.
KEYBOARD = "05010906a101050719e029e715002501750195088102c0"
MOUSE = "05010902a1010901a10005091901290315002501950375018102c0c0"
JOYSTICK = "05010904a1010930150026ff00750895018102c0"
PAD_AND_KEYS = "05010905a1010901a10009300931c0c0" + KEYBOARD


@pytest.mark.parametrize(
    ("descriptor", "found", "controller"),
    [
        (KEYBOARD, {(1, 6)}, False),
        (MOUSE, {(1, 2)}, False),
        (JOYSTICK, {(1, 4)}, True),
        (PAD_AND_KEYS, {(1, 5), (1, 6)}, True),
        ("0501" + "0b05000100" + "a101c0", {(1, 5)}, True),  # a usage with its page in it
        ("05020901a101c0", {(2, 1)}, True),  # flight simulation device
        ("fe03000102030501" + "0904a101c0", {(1, 4)}, True),  # after a long item
        ("0501" + "a101c0", set(), False),  # no usage
        ("05010904a100c0", set(), False),  # a physical collection
        ("05010904a1", set(), False),  # torn
        ("", set(), False),
    ],
)
def test_applications(descriptor: str, found: set[tuple[int, int]], controller: bool) -> None:
    raw = bytes.fromhex(descriptor)
    assert applications(raw) == found
    assert is_controller(raw) == controller


@given(st.binary(max_size=600))
def test_any_bytes_have_an_answer(descriptor: bytes) -> None:
    assert len(applications(descriptor)) <= len(descriptor)
