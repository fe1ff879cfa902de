# SPDX-License-Identifier: GPL-2.0-only
"""The input devices of the machine, read from sysfs: no device opened, no BPF, no root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.input.classify import (
    Capabilities,
    CapabilityError,
    Kind,
    Lane,
    classify,
    lane_of,
    parse_bits,
)

SYSFS = Path("/sys/class/input")
DEV = Path("/dev/input")
NAME_LEN = 80


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One input device. `number` is the N of inputN, `event` its node or None without one.

    `path` is "kernel" or "evdev" while a supervisor listens to the device, else None; `rate_hz`
    is reports per second as counted by that supervisor, else None.
    """

    number: int
    event: str | None
    name: str
    kind: Kind
    lane: Lane
    path: str | None
    rate_hz: float | None
    readable: bool


def sanitise(name: str) -> str:
    """A device chooses its name: keep it to one printable line of bounded length."""
    text = "".join(char if char.isprintable() else "?" for char in name.strip("\n\0"))
    return text[:NAME_LEN].strip() or "unnamed"


def _text(path: str) -> str:
    # Attributes vanish with the device, between two reads.
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4096).decode("utf-8", "replace")
    except OSError:
        return ""


def read_capabilities(device: str) -> Capabilities:
    """The capabilities of /sys/class/input/inputN; a vanished or odd file counts as no bits."""

    def bits(name: str) -> frozenset[int]:
        try:
            return parse_bits(_text(f"{device}/{name}"))
        except CapabilityError:
            return frozenset()

    return Capabilities(
        key=bits("capabilities/key"),
        rel=bits("capabilities/rel"),
        abs=bits("capabilities/abs"),
        ff=bits("capabilities/ff"),
        properties=bits("properties"),
    )


def _number(name: str, prefix: str) -> int | None:
    digits = name.removeprefix(prefix)
    if name.startswith(prefix) and digits.isascii() and digits.isdecimal() and len(digits) < 10:
        return int(digits)
    return None


def read_device(sysfs: Path, name: str, dev: Path = DEV) -> DeviceInfo | None:
    """One `inputN` of `sysfs`; None when it is not one, or is gone."""
    number = _number(name, "input")
    if number is None:
        return None
    device = f"{sysfs}/{name}"
    try:
        children = sorted(os.listdir(device))
    except OSError:
        return None
    nodes = [child for child in children if _number(child, "event") is not None]
    event = f"{dev}/{nodes[0]}" if nodes else None
    kind = classify(read_capabilities(device))
    return DeviceInfo(
        number=number,
        event=event,
        name=sanitise(_text(f"{device}/name")),
        kind=kind,
        lane=lane_of(kind),
        path=None,
        rate_hz=None,
        readable=event is not None and os.access(event, os.R_OK),
    )


def scan_devices(sysfs: Path = SYSFS, dev: Path = DEV) -> list[DeviceInfo]:
    """Every input device, by number. A machine without any gives an empty list."""
    try:
        names = os.listdir(sysfs)
    except OSError:
        return []
    found = (read_device(sysfs, name, dev) for name in names)
    return sorted((info for info in found if info is not None), key=lambda info: info.number)
