# SPDX-License-Identifier: GPL-2.0-or-later
"""Selection of a game's profile: by AppID first, then by exe, then by command line."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from scx_gamer.profiles.model import Profile

_MAX_CMDLINE = 4096  # characters matched
_MAX_ARGUMENTS = 64  # searched for a Windows program


@dataclass(frozen=True)
class Game:
    """Facts about one process of a game. `appid` is 0 if unknown."""

    appid: int = 0
    exe: str = ""
    argv: tuple[str, ...] = ()

    def programs(self) -> set[str]:
        """Return the file names of its programs: its executable, and the Windows programs among Wine's arguments."""
        found = {self.exe.removesuffix(" (deleted)")}
        found.update(a for a in self.argv[:_MAX_ARGUMENTS] if a.lower().endswith(".exe"))
        return {name.replace("\\", "/").rpartition("/")[2] for name in found} - {""}


@dataclass(frozen=True)
class Found:
    """A profile and the fact that selected it."""

    profile: Profile
    how: str  # appid, exe, cmdline
    what: str


def find(profiles: Iterable[Profile], games: Iterable[Game]) -> Found | None:
    """Return the best match. Admin profiles come before vendor profiles, then names are compared."""
    order = sorted((p for p in profiles if p.match), key=lambda p: (p.vendor, p.name))
    known = list(games)
    for probe in (_by_appid, _by_exe, _by_cmdline):
        for profile in order:
            for game in known:
                what = probe(profile, game)
                if what:
                    return Found(profile, probe.__name__.removeprefix("_by_"), what)
    return None


def _by_appid(profile: Profile, game: Game) -> str:
    return str(game.appid) if game.appid and game.appid in profile.match.appid else ""


def _by_exe(profile: Profile, game: Game) -> str:
    names = game.programs()
    for wanted in profile.match.exe:
        if "/" in wanted:
            if wanted == game.exe.removesuffix(" (deleted)"):
                return wanted
        elif wanted.lower().endswith(".exe"):  # Windows file names are case-insensitive
            if wanted.lower() in {name.lower() for name in names}:
                return wanted
        elif wanted in names:
            return wanted
    return ""


def _by_cmdline(profile: Profile, game: Game) -> str:
    line = " ".join(game.argv)[:_MAX_CMDLINE]
    return next((p for p in profile.match.cmdline if fnmatch.fnmatchcase(line, p)), "")
