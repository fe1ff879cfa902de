# SPDX-License-Identifier: GPL-2.0-or-later
"""The data of a profile: its match, settings, their reasons and places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scx_gamer.config.toml import ConfigError
from scx_gamer.system.exit_codes import USAGE

AUTO = "auto"  # the profile of the running game, if any
GENERAL = (AUTO, "gaming", "powersave", "lowlatency", "server")  # names that scx_loader uses too


class ProfileError(ConfigError):
    """A profile that is invalid or does not exist."""


class UnknownProfile(ProfileError):
    """A name that no profile has."""

    code = USAGE


@dataclass(frozen=True)
class Match:
    """Facts of a game; any one of them selects the profile."""

    appid: tuple[int, ...] = ()
    exe: tuple[str, ...] = ()
    cmdline: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.appid or self.exe or self.cmdline)


@dataclass(frozen=True)
class Profile:
    """A profile. `settings` maps names such as `mode` or `tunables.slice_us` to values, `where` to file:line."""

    name: str
    title: str
    match: Match
    settings: Mapping[str, object]
    why: Mapping[str, str]
    where: Mapping[str, str] = field(repr=False, compare=False, default_factory=dict)
    files: tuple[Path, ...] = field(compare=False, default=())
    vendor: bool = True  # none of its files is the admin's

    def section(self, name: str) -> dict[str, object]:
        """Return the settings of one section, by key."""
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
    """A setting whose value differs between two profiles; None for a profile that does not set it."""

    setting: str
    left: object
    right: object
    why: str


def diff(left: Mapping[str, object], right: Profile) -> list[Difference]:
    """Return the settings of `right` whose value in `left` (another profile, or the defaults) differs."""
    return [
        Difference(name, left.get(name), value, right.why.get(name, ""))
        for name, value in right.settings.items()
        if left.get(name) != value
    ]
