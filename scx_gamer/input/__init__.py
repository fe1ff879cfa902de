# SPDX-License-Identifier: GPL-2.0-or-later
"""Input devices: what they are, where they come and go, and the boost lane each one opens."""

from scx_gamer.input.classify import Kind, Lane
from scx_gamer.input.devices import DeviceInfo, Overrides, overrides_of, scan_devices
from scx_gamer.input.monitor import InputError, InputMonitor

__all__ = [
    "DeviceInfo", "InputError", "InputMonitor", "Kind", "Lane", "Overrides", "overrides_of",
    "scan_devices",
]  # fmt: skip
