# SPDX-License-Identifier: GPL-2.0-or-later
"""Capabilities of the running supervisor that a feature needs and the unit has only with a drop-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scx_gamer.doctor.model import INFO, OK, WARN, Finding
from scx_gamer.system import procfs

FOLDER = "/usr/share/scx-gamer/systemd"


@dataclass(frozen=True)
class Extra:
    """`bit`: number of the capability in linux/capability.h."""

    bit: int
    name: str
    file: str
    without: str


EXTRAS = (
    Extra(12, "CAP_NET_ADMIN", "network-limits.conf", "traffic cannot be limited"),
    Extra(
        2,
        "CAP_DAC_READ_SEARCH",
        "closed-files.conf",
        "desktop entries in homes closed to others, and the environment of games, are not read",
    ),
)


def privileges(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Report for each such feature whether the supervisor of that status may."""
    pid = status.get("pid")
    held = procfs.capabilities_of(pid) if type(pid) is int else None
    if held is None:
        return
    limits_asked = bool((status.get("network") or {}).get("why"))
    for extra in EXTRAS:
        if held >> extra.bit & 1:
            yield Finding(OK, "privileges", f"the supervisor has {extra.name}")
            continue
        level = WARN if extra.name == "CAP_NET_ADMIN" and limits_asked else INFO
        to_do = f"copy {FOLDER}/{extra.file} into /etc/systemd/system/scx-gamer.service.d, if it is wanted"
        yield Finding(level, "privileges", f"without {extra.name} {extra.without}", to_do)
