# SPDX-License-Identifier: GPL-2.0-or-later
"""sched_ext in sysfs: support, state, and the name of the loaded scheduler."""

from __future__ import annotations

from pathlib import Path

from scx_gamer.system.files import read_number, read_text

SCHED_EXT = Path("/sys/kernel/sched_ext")
OURS = "scx_gamer"


def unsupported(root: Path = SCHED_EXT) -> str | None:
    """Return why this kernel cannot run a scheduler, in one line; None if it can."""
    if read_text(f"{root}/state") is not None:
        return None
    if not root.is_dir():
        return (
            f"no {root}: this kernel has no sched_ext (6.12 or later with CONFIG_SCHED_CLASS_EXT)"
        )
    return f"{root}/state cannot be read: sched_ext is not usable here"


def state(root: Path = SCHED_EXT) -> str:
    """Return `disabled`, `enabled`, `enabling`, `disabling`, or nothing."""
    return read_text(f"{root}/state") or ""


def loaded(root: Path = SCHED_EXT) -> str:
    """Return the name of the loaded scheduler, ours or another; empty without one."""
    return read_text(f"{root}/root/ops") or ""


def events(root: Path = SCHED_EXT) -> dict[str, int]:
    """Return the counters of `root/events`, which kernels have since 6.15."""
    found: dict[str, int] = {}
    for line in (read_text(f"{root}/root/events") or "").splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdecimal():
            found[name] = int(value)
    return found


def counter(name: str, root: Path = SCHED_EXT) -> int | None:
    """Return a counter such as `enable_seq` or `nr_rejected`; None where the kernel lacks it."""
    return read_number(f"{root}/{name}")


def hotplugs(root: Path = SCHED_EXT) -> int:
    """Return how often a CPU came or went since the boot."""
    return counter("hotplug_seq", root) or 0
