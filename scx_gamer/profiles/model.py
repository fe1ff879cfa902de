# SPDX-License-Identifier: GPL-2.0-only
"""A profile: what it is for, what it sets, why, and where that is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from scx_gamer.config.toml import ConfigError

AUTO = "auto"  # the game's own profile while one runs, else nothing
GENERAL = (AUTO, "gaming", "powersave", "lowlatency", "server")  # the names scx_loader has too

_EMPTY: Mapping[str, object] = MappingProxyType({})


class ProfileError(ConfigError):
    """A profile that cannot be used, or is not there."""


@dataclass(frozen=True)
class Match:
    """Any of these makes it the profile of a game."""

    appid: tuple[int, ...] = ()
    exe: tuple[str, ...] = ()
    cmdline: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.appid or self.exe or self.cmdline)


@dataclass(frozen=True)
class Profile:
    """`settings`: `mode`, `tunables.slice_us`, … to value. `where`: the same names to file:line."""

    name: str
    title: str
    match: Match
    settings: Mapping[str, object]
    why: Mapping[str, str]
    where: Mapping[str, str] = field(repr=False, compare=False, default_factory=dict)
    files: tuple[Path, ...] = field(compare=False, default=())
    vendor: bool = True  # no file of the admin's is in it

    def section(self, name: str) -> dict[str, object]:
        """The settings of one section, by key."""
        prefix = f"{name}."
        return {k[len(prefix) :]: v for k, v in self.settings.items() if k.startswith(prefix)}

    @property
    def tunables(self) -> dict[str, int]:
        return {k: v for k, v in self.section("tunables").items() if isinstance(v, int)}

    @property
    def mode(self) -> str | None:
        mode = self.settings.get("mode")
        return mode if isinstance(mode, str) else None


@dataclass(frozen=True)
class Difference:
    """One setting that is not the same in two profiles; None where one does not set it."""

    setting: str
    left: object
    right: object
    why: str


def diff(left: Mapping[str, object], right: Profile) -> list[Difference]:
    """What `right` sets otherwise than `left` (settings of another profile, or the defaults)."""
    return [
        Difference(name, left.get(name), value, right.why.get(name, ""))
        for name, value in right.settings.items()
        if left.get(name) != value
    ]
