# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles: settings per game, from TOML files. Imports `config` and `system`, nothing of processes or BPF."""

from scx_gamer.profiles.load import (
    ProfileSet,
    check_set,
    files_of,
    folders,
    load,
    of_documents,
    read,
    without_reason,
)
from scx_gamer.profiles.match import Found, Game
from scx_gamer.profiles.model import AUTO, GENERAL, Difference, Match, Profile, ProfileError, diff

__all__ = [
    "AUTO", "GENERAL", "Difference", "Found", "Game", "Match", "Profile", "ProfileError",
    "ProfileSet", "check_set", "diff", "files_of", "folders", "load", "of_documents", "read",
    "without_reason",
]  # fmt: skip
