# SPDX-License-Identifier: GPL-2.0-or-later
"""The input devices of the machine, read from sysfs: no device opened, no BPF, no root."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.input.classify import (
    NO_LANES,
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
from scx_gamer.input.hid import is_controller

SYSFS = Path("/sys/class/input")
DEV = Path("/dev/input")
UDEV_DATA = Path("/run/udev/data")
NAME_LEN = 80
_DEV_NUMBER = re.compile(r"[0-9]{1,10}:[0-9]{1,10}")
_HEX_ID = re.compile(r"[0-9a-fA-F]{4}")


@dataclass(frozen=True, slots=True)
class Overrides:
    """The administrator's lanes, by the device's name or `vendor:product` in hex; the first that fits counts."""

    lanes: tuple[tuple[str, Lane], ...] = ()

    def find(self, name: str, ids: str) -> tuple[str, Lane] | None:
        """Return the entry that fits a device: its pattern and lane."""
        for pattern, lane in self.lanes:
            if pattern == name or pattern.lower() == ids:
                return pattern, lane
        return None


NO_OVERRIDES = Overrides()


def overrides_of(lanes: Mapping[str, str]) -> Overrides:
    """Return `[input] lanes` of the configuration, which has checked the words."""
    return Overrides(tuple((pattern, Lane(lane)) for pattern, lane in lanes.items()))


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One input device. `number` is the N of inputN, `event` its node or None without one.

    `path` is "kernel" or "evdev" while a supervisor listens to the device, else None; `rate_hz`
    is reports per second as counted by that supervisor, else None; `grabbed` is True where one reader
    had the device for itself at its last report, None where nobody knows. `lane` is the main one;
    `lanes` has it by the source of an event. `reason` says which rule gave the lane.
    """

    number: int
    event: str | None
    name: str
    kind: Kind
    lane: Lane
    path: str | None
    rate_hz: float | None
    readable: bool
    lanes: Lanes = NO_LANES
    ids: str = ""
    reason: str = ""
    grabbed: bool | None = None


def sanitise(name: str) -> str:
    """Return a device's name, which the device chooses, as one printable line of bounded length."""
    text = "".join(char if char.isprintable() else "?" for char in name.strip("\n\0"))
    return text[:NAME_LEN].strip() or "unnamed"


def _bytes(path: str) -> bytes:
    # Attributes vanish with the device, between two reads.
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4096)
    except OSError:
        return b""


def _text(path: str) -> str:
    return _bytes(path).decode("utf-8", "replace")


def read_capabilities(device: str) -> Capabilities:
    """Return the capabilities of /sys/class/input/inputN; a vanished or odd file counts as no bits."""

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


def udev_properties(device: str, node: str, database: Path) -> dict[str, str]:
    """Return what udev noted of a node of `device`; empty without udev. Its own database: no library is loaded."""
    number = _text(f"{device}/{node}/dev").strip()
    if not _DEV_NUMBER.fullmatch(number):
        return {}
    lines = _text(f"{database}/c{number}").split("\n")
    pairs = (line[2:].partition("=") for line in lines if line.startswith("E:"))
    return {key: value for key, _, value in pairs}


def read_facts(device: str, node: str | None) -> Facts:
    """Return claims of udev and of the HID descriptor about /sys/class/input/inputN."""
    udev = {} if node is None else udev_properties(device, node, UDEV_DATA)
    sensor = udev.get("ID_INPUT_ACCELEROMETER") == "1"
    tablet_pad = udev.get("ID_INPUT_TABLET_PAD") == "1"
    if udev.get("ID_INPUT_JOYSTICK") == "1" or sensor or tablet_pad:
        return Facts(not (sensor or tablet_pad), sensor, tablet_pad, "udev")
    # Other drivers make nodes of their own beside the descriptor's, such as motion sensors.
    try:
        driver = os.path.basename(os.readlink(f"{device}/device/driver"))
    except OSError:
        return Facts()
    if driver != "hid-generic":
        return Facts()
    controller = is_controller(_bytes(f"{device}/device/report_descriptor"))
    return Facts(controller=controller, source="HID application" if controller else "")


def _number(name: str, prefix: str) -> int | None:
    digits = name.removeprefix(prefix)
    if name.startswith(prefix) and digits.isascii() and digits.isdecimal() and len(digits) < 10:
        return int(digits)
    return None


def _hex_id(device: str, name: str) -> str:
    """Return a vendor or product of at most four hex digits; four zeros where there is none."""
    text = _text(f"{device}/id/{name}").strip()
    return text.lower() if _HEX_ID.fullmatch(text) else "0000"


def _reason(kind: Kind, facts: Facts, caps: Capabilities) -> str:
    bits = classify(caps)
    return "capabilities" if bits is kind else facts.source


def read_device(
    sysfs: Path, name: str, dev: Path = DEV, overrides: Overrides = NO_OVERRIDES
) -> DeviceInfo | None:
    """Return one `inputN` of `sysfs`; None if it is no input device, or is gone."""
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
    caps = read_capabilities(device)
    facts = read_facts(device, nodes[0] if nodes else None)
    kind = classify(caps, facts)
    lane, lanes, reason = lane_of(kind), lanes_of(kind, caps), _reason(kind, facts, caps)
    shown = sanitise(_text(f"{device}/name"))
    ids = f"{_hex_id(device, 'vendor')}:{_hex_id(device, 'product')}"
    found = overrides.find(shown, ids)
    if found is not None:
        lane, lanes, reason = found[1], Lanes.all_of(found[1]), f"config: {found[0]}"
    return DeviceInfo(
        number=number,
        event=event,
        name=shown,
        kind=kind,
        lane=lane,
        path=None,
        rate_hz=None,
        readable=event is not None and os.access(event, os.R_OK),
        lanes=lanes,
        ids=ids,
        reason=reason,
    )


def scan_devices(
    sysfs: Path = SYSFS, dev: Path = DEV, overrides: Overrides = NO_OVERRIDES
) -> list[DeviceInfo]:
    """Return every input device, by number."""
    try:
        names = os.listdir(sysfs)
    except OSError:
        return []
    found = (read_device(sysfs, name, dev, overrides) for name in names)
    return sorted((info for info in found if info is not None), key=lambda info: info.number)
