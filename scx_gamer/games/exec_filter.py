# SPDX-License-Identifier: GPL-2.0-only
"""Which execs the kernel tells us about: the names that the rules could make something of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scx_gamer.games.lists import DetectData
from scx_gamer.games.rules import TREE_ROOTS


@dataclass(frozen=True, slots=True)
class Names:
    """First 15 bytes of a program's name, as the kernel has them after an exec → flags; or why all must be told."""

    flags: Mapping[bytes, int]
    unfiltered: str = ""


def comm_of(program: str) -> bytes:
    """What the kernel calls a process that executed a file of this name."""
    return program.encode()[:15]


def names_to_tell(
    data: DetectData, programs: Iterable[str], report: int, tree: int, limit: int
) -> Names:
    """`programs`: file names of desktop entries and profiles. Rules read a process's parents from `/proc` themselves,
    so a shell or an interpreter need not be told: what it starts is."""
    flags: dict[bytes, int] = {}
    trees = (*TREE_ROOTS, *data.wine_loaders, *data.launchers, *programs)
    alone = (*data.critical, *data.background, "wineserver", "wineserver32", "wineserver64")
    for name, flag in (*((n, report | tree) for n in trees), *((n, report) for n in alone)):
        if "*" in name or "?" in name or "[" in name:
            return Names({}, f"{name} is a pattern: the kernel compares whole names")
        for spelled in (name, f".{name}-wrapped"):  # NixOS
            key = comm_of(spelled)
            flags[key] = flags.get(key, 0) | flag
    # names are compared in lower case by the rules and as they are by the kernel
    for title in ("Xwayland", "Xorg", "X", "Hyprland", "Heroic"):
        if (key := comm_of(title.lower())) in flags:
            flags[comm_of(title)] = flags[key]
    if len(flags) > limit:
        return Names({}, f"{len(flags)} names are more than the kernel's table of {limit} holds")
    return Names(flags)
