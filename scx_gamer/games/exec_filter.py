# SPDX-License-Identifier: GPL-2.0-or-later
"""The filter of execs that the kernel reports: names of which the rules could make something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scx_gamer.games.lists import DetectData

# Programs below which everything is looked at: what they start may be a game whatever it is called. pv-adverb and
# srt-bwrap start the games that Flatpak's portal takes out of a reaper's tree.
TREE_ROOTS = (
    "reaper", "proton", "umu-run", "umu_run.py", "gamescope", "gamescope-wl", "pv-adverb", "srt-bwrap", "java", "javaw",
    "box64", "FEXInterpreter", "start.sh",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExecFilter:
    """First 15 bytes of a program's name, as the kernel has them after an exec → flags; or why all must be told."""

    flags: Mapping[bytes, int]
    unfiltered: str = ""


def comm_of(program: str) -> bytes:
    """Return the name that the kernel gives a process that executed a file of this name."""
    return program.encode()[:15]


def names_to_tell(
    data: DetectData, programs: Iterable[str], report: int, tree: int, limit: int
) -> ExecFilter:
    """`programs`: file names of desktop entries and profiles. Rules read a process's parents from `/proc` themselves,
    so a shell or an interpreter need not be told: what it starts is."""
    flags: dict[bytes, int] = {}
    fronts = (
        name
        for name in (*data.launchers, *data.game_wrappers)
        if not name.endswith((".exe", ".jar"))
    )  # their loader and Java are told
    trees = (*TREE_ROOTS, *data.wine_loaders, *fronts, *programs)
    alone = (
        *data.critical,
        *data.relays,
        *data.background,
        "wineserver",
        "wineserver32",
        "wineserver64",
    )
    for name, flag in (*((n, report | tree) for n in trees), *((n, report) for n in alone)):
        if "*" in name or "?" in name or "[" in name:
            return ExecFilter({}, f"{name} is a pattern: the kernel compares whole names")
        for spelled in (name, f".{name}-wrapped"):  # NixOS
            key = comm_of(spelled)
            flags[key] = flags.get(key, 0) | flag
    # names are compared in lower case by the rules and as they are by the kernel
    for title in (
        "Xwayland",
        "Xorg",
        "X",
        "Hyprland",
        "Heroic",
        "XIVLauncher.Core",
        "MultiMC",
        "ATLauncher",
    ):
        if (key := comm_of(title.lower())) in flags:
            flags[comm_of(title)] = flags[key]
    if len(flags) > limit:
        return ExecFilter(
            {}, f"{len(flags)} names are more than the kernel's table of {limit} holds"
        )
    return ExecFilter(flags)
