# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual devices of no known vendor."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from evdev import AbsInfo, UInput, ecodes

VENDOR = 0xFEFE


def load_modules() -> None:
    """Load the modules that devices need, unless they are built in."""
    for name in ("evdev", "uinput"):
        subprocess.run(["modprobe", "-q", name], check=False, timeout=60)
    assert Path("/dev/uinput").exists(), "the kernel has no uinput"


def keyboard(name: str = "keys") -> UInput:
    return UInput({ecodes.EV_KEY: list(range(1, 0x100))}, name=name, vendor=VENDOR)


def mouse(name: str = "mouse") -> UInput:
    return UInput(
        {ecodes.EV_KEY: [ecodes.BTN_LEFT], ecodes.EV_REL: [ecodes.REL_X, ecodes.REL_Y]},
        name=name,
        vendor=VENDOR,
    )


def gamepad(name: str = "pad") -> UInput:
    stick = AbsInfo(value=0, min=-32768, max=32767, fuzz=16, flat=128, resolution=0)
    events: dict[int, Any] = {
        ecodes.EV_KEY: [ecodes.BTN_SOUTH, ecodes.BTN_EAST],
        ecodes.EV_ABS: [(code, stick) for code in (0, 1, 3, 4)],
    }
    return UInput(events, name=name, vendor=VENDOR)


def key(device: UInput, code: int, value: int) -> None:
    device.write(ecodes.EV_KEY, code, value)
    device.syn()


def move(device: UInput) -> None:
    device.write(ecodes.EV_REL, ecodes.REL_X, 1)
    device.syn()


def stick(device: UInput, value: int) -> None:
    device.write(ecodes.EV_ABS, ecodes.ABS_X, value)
    device.syn()
