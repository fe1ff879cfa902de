# SPDX-License-Identifier: GPL-2.0-or-later
"""The names that the rules know: `detect.toml` and its drop-ins."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase, translate
from pathlib import Path

from scx_gamer.system.errors import ScxGamerError


class DetectDataError(ScxGamerError):
    """A detection file that cannot be used; the text names file, key and what would be right."""


@dataclass(frozen=True, slots=True)
class DetectData:
    """Name patterns by role, lower case, `*` for any run of characters."""

    wine_plumbing: tuple[str, ...] = ()
    wine_loaders: tuple[str, ...] = ()
    launchers: tuple[str, ...] = ()
    game_wrappers: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    critical: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    installers: tuple[str, ...] = ()
    web_views: tuple[str, ...] = ()
    java_games: tuple[str, ...] = ()
    java_jars: tuple[str, ...] = ()
    input_threads: tuple[str, ...] = ()
    periodic_threads: tuple[str, ...] = ()
    submit_threads: tuple[str, ...] = ()
    steam_no_game_appids: tuple[int, ...] = ()


# In the order in which they count for a name that is in several.
ROLES = (
    "background",
    "wine_plumbing",
    "helpers",
    "launchers",
    "game_wrappers",
    "wrappers",
    "commands",
    "tools",
    "installers",
    "critical",
)


class RoleTable:
    """Index of the lists by program name: whole names by one lookup, patterns by one expression. Pure."""

    _MOST = 8192  # answers that are remembered

    def __init__(self, data: DetectData) -> None:
        self._whole: dict[str, str] = {}
        patterns: list[tuple[str, str]] = []
        for role in ROLES:
            for name in getattr(data, role):
                if is_pattern(name):
                    patterns.append((translate(name), role))
                else:
                    self._whole.setdefault(name, role)
        self._patterns = [(re.compile(pattern), role) for pattern, role in patterns]
        self._known: dict[str, str] = {}

    def role_of(self, name: str) -> str:
        """The list's name; empty for a program that none names."""
        found = self._whole.get(name)
        if found is not None or not self._patterns:
            return found or ""
        if (known := self._known.get(name)) is not None:
            return known
        found = next((role for pattern, role in self._patterns if pattern.match(name)), "")
        if len(self._known) >= self._MOST:
            self._known.clear()
        self._known[name] = found
        return found


def is_pattern(name: str) -> bool:
    return any(char in name for char in "*?[")


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name == p or (is_pattern(p) and fnmatchcase(name, p)) for p in patterns)


def load(vendor: Path, drop_ins: Iterable[Path] = ()) -> DetectData:
    """Vendor file first, then drop-ins in the order given. Raises DetectDataError."""
    lists: dict[str, list[str | int]] = {f.name: [] for f in fields(DetectData)}
    for path in (vendor, *drop_ins):
        for key, values in _read(path, lists.keys()).items():
            _merge(lists[key], values)
    return DetectData(
        **{key: tuple(values) for key, values in lists.items()}  # type: ignore[arg-type]
    )


def _read(path: Path, known: Iterable[str]) -> dict[str, list[str | int]]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise DetectDataError(f"{path}: cannot be read: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise DetectDataError(f"{path}: byte {err.start} is not UTF-8") from err
    except tomllib.TOMLDecodeError as err:
        raise DetectDataError(f"{path}: {err}") from err
    for key, values in table.items():
        if key not in set(known):
            raise DetectDataError(
                f"{path}: unknown key {key!r}; known are {', '.join(sorted(known))}"
            )
        wanted: type = int if key == "steam_no_game_appids" else str
        if not isinstance(values, list) or not all(type(value) is wanted for value in values):
            raise DetectDataError(f"{path}: {key}: must be a list of {wanted.__name__} values")
    return table


def _merge(into: list[str | int], values: list[str | int]) -> None:
    for value in values:
        if isinstance(value, str) and value.startswith("-"):
            if (taken := value[1:].lower()) in into:
                into.remove(taken)
        else:
            item = value.lower() if isinstance(value, str) else value
            if item not in into:
                into.append(item)
