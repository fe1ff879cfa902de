# SPDX-License-Identifier: GPL-2.0-or-later
"""Applications of a HID report descriptor, by the items of the HID specification 1.11, section 6.2.2."""

from __future__ import annotations

from collections.abc import Iterator

MAX_DESCRIPTOR = 4096  # HID_MAX_DESCRIPTOR_SIZE of the kernel
_USAGE_PAGE, _USAGE, _USAGE_MINIMUM, _COLLECTION, _END_COLLECTION = 0x04, 0x08, 0x18, 0xA0, 0xC0
_MAIN, _LONG_ITEM, _APPLICATION = 0, 0xFE, 0x01
_SIZES = (0, 1, 2, 4)
# HID Usage Tables 1.5: Generic Desktop joystick, game pad, multi-axis controller; the
# Simulation page's devices (flight stick, steering wheel and others below 0xB0); Game Controls' pages.
_CONTROLLERS = frozenset(
    {(0x01, 0x04), (0x01, 0x05), (0x01, 0x08), *((0x02, usage) for usage in range(0x01, 0x26))}
)


def _items(descriptor: bytes) -> Iterator[tuple[int, int]]:
    """Yield tag with type, and unsigned data, of each short item, up to the end of the bytes."""
    at, end = 0, min(len(descriptor), MAX_DESCRIPTOR)
    while at < end:
        prefix = descriptor[at]
        if prefix == _LONG_ITEM:
            at += 3 + (descriptor[at + 1] if at + 1 < end else 0)
            continue
        size = _SIZES[prefix & 0x03]
        if at + 1 + size > end:
            return
        yield prefix & 0xFC, int.from_bytes(descriptor[at + 1 : at + 1 + size], "little")
        at += 1 + size


def applications(descriptor: bytes) -> frozenset[tuple[int, int]]:
    """Return page and usage of each application collection. Total: any bytes have an answer."""
    page, usages, found = 0, list[int](), set[tuple[int, int]]()
    for tag, value in _items(descriptor):
        if tag == _USAGE_PAGE:
            page = value & 0xFFFF
        elif tag in (_USAGE, _USAGE_MINIMUM):
            usages.append(value)
        elif tag >> 2 & 0x03 == _MAIN:
            if tag == _COLLECTION and value == _APPLICATION and usages:
                usage = usages[0]
                found.add((usage >> 16 or page, usage & 0xFFFF))
            usages.clear()
    return frozenset(found)


def is_controller(descriptor: bytes) -> bool:
    """Return True if an application of the descriptor is a game controller."""
    return not applications(descriptor).isdisjoint(_CONTROLLERS)
