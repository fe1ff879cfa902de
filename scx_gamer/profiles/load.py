# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading of profiles: one TOML file each, named after the profile.

An admin's file masks the vendor's of the same name, and a link to /dev/null disables it. Files in NAME.toml.d/ override
single keys, in the order of their names. An invalid profile does not affect the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from scx_gamer.config import toml
from scx_gamer.config.settings import PROFILE_NAME, config_dir, vendor_file
from scx_gamer.config.toml import ConfigError, Document, suggest, value_text
from scx_gamer.profiles.match import Found, Game, find
from scx_gamer.profiles.model import Match, Profile, ProfileError, UnknownProfile
from scx_gamer.profiles.schema import MAX_TEXT, TOP, Limits, sections
from scx_gamer.system.text import printable

MAX_BYTES = 64 << 10
MAX_PROFILES = 1024


@dataclass(frozen=True)
class ProfileSet:
    """All valid profiles by name, and the errors of the others."""

    profiles: Mapping[str, Profile]
    errors: tuple[ConfigError, ...] = ()

    def get(self, name: str) -> Profile:
        """Return a profile by name. Raises ProfileError with the closest known name."""
        found = self.profiles.get(name)
        if found is None:
            for error in self.errors:
                if f"/{name}.toml" in error.where:
                    raise ProfileError(error.where, error.what, error.hint)
            hint = suggest(name, self.profiles).replace("known keys", "known profiles")
            raise UnknownProfile(printable(name, 64), "no such profile", hint)
        return found

    def find(self, games: list[Game]) -> Found | None:
        """Return the profile of the running games, None if no profile matches."""
        return find(self.profiles.values(), games)


def folders(admin: Path | None = None, vendor: Path | None = None) -> tuple[Path, Path]:
    """Return the directories of profiles: the vendor's, the admin's."""
    return vendor or vendor_file().parent / "profiles", (admin or config_dir()) / "profiles"


def load(limits: Limits, vendor: Path, admin: Path, before: ProfileSet | None = None) -> ProfileSet:
    """Read both directories. An invalid profile keeps its version in `before`, or is left out."""
    profiles: dict[str, Profile] = {}
    errors: list[ConfigError] = []
    names: set[str] = set()
    for folder in (vendor, admin):
        try:
            names |= set(_names(folder))
        except ConfigError as error:
            errors.append(error)
    for name in sorted(names)[:MAX_PROFILES]:
        try:
            profile = read(name, limits, vendor, admin)
        except ConfigError as error:
            errors.append(error)
            if before is not None and name in before.profiles:
                profiles[name] = before.profiles[name]
            continue
        if profile is not None:
            profiles[name] = profile
    return ProfileSet(MappingProxyType(profiles), tuple(errors))


def _names(folder: Path) -> Iterator[str]:
    for entry in toml.names_in(folder):
        stem = entry.removesuffix(".d").removesuffix(".toml")
        if entry.startswith(".") or not entry.endswith((".toml", ".toml.d")):
            continue
        if not PROFILE_NAME.fullmatch(stem):
            where = printable(str(folder / entry))
            hint = "use lower-case letters, digits and - in the file's name"
            raise ProfileError(where, "is not a valid profile name", hint)
        yield stem


def files_of(name: str, vendor: Path, admin: Path) -> list[Path]:
    """Return the files of a profile: the base, then its overrides in order."""
    own = admin / f"{name}.toml"
    base = own if os.path.lexists(own) else vendor / f"{name}.toml"
    return [base, *toml.drop_ins(vendor / f"{name}.toml.d", admin / f"{name}.toml.d")]


def read(name: str, limits: Limits, vendor: Path, admin: Path) -> Profile | None:
    """Read one profile from its files; None if it is disabled. Raises ConfigError."""
    files = files_of(name, vendor, admin)
    if _is_disabled(files[0]):
        return None
    if len(files) > 1 and not os.path.lexists(files[0]):
        where = printable(str(files[1]))
        raise ProfileError(
            where,
            f"overrides {name}.toml, which does not exist",
            "name the directory after an existing profile",
        )
    documents = [toml.read(path, MAX_BYTES) for path in files if not _is_disabled(path)]
    profile = of_documents(name, documents, limits)
    shipped = all(path.is_relative_to(vendor) for path in files)
    return replace(profile, files=tuple(files), vendor=shipped)


def _is_disabled(path: Path) -> bool:
    """Return True if `path` is a link to /dev/null."""
    return path.is_symlink() and os.path.realpath(path) == os.devnull


def of_documents(name: str, documents: list[Document], limits: Limits) -> Profile:
    """Validate and merge documents key by key; later ones override. Raises ProfileError for the first mistake."""
    settings: dict[str, object] = {}
    where: dict[str, str] = {}
    why: dict[str, str] = {}
    match: dict[str, object] = {}
    title = name
    for document in documents:
        for section, key, value in _checked(document, limits):
            place = document.place(*(part for part in (section, key) if part))
            if section == "why":
                why[key] = str(value)
                where[f"why.{key}"] = place
            elif section == "match":
                match[key] = value
                where[f"match.{key}"] = place
            elif key == "title":
                title = str(value)
            else:
                setting = f"{section}.{key}" if section else key
                settings[setting] = value
                where[setting] = place
                why.pop(setting, None)  # that reason was for the overridden value
    for setting in why:
        if setting not in settings:
            raise ProfileError(
                where[f"why.{setting}"],
                f"[why] names {printable(setting, 64)}, which is not set here",
                suggest(setting, settings) if settings else "remove it",
            )
    return Profile(
        name, title, _match(match), MappingProxyType(settings), MappingProxyType(why),
        MappingProxyType(where),
    )  # fmt: skip


def _match(found: Mapping[str, object]) -> Match:
    def items(key: str) -> tuple[object, ...]:
        value = found.get(key, ())
        return tuple(value) if isinstance(value, list) else ()

    return Match(
        tuple(v for v in items("appid") if isinstance(v, int)),
        tuple(v for v in items("exe") if isinstance(v, str)),
        tuple(v for v in items("cmdline") if isinstance(v, str)),
    )


def _checked(document: Document, limits: Limits) -> Iterator[tuple[str, str, object]]:
    """Yield section (empty for top-level keys), key and value of a file, [why] last. Raises ProfileError."""
    known = sections(limits)
    for name, value in sorted(document.tree.items(), key=lambda item: item[0] == "why"):
        section = known.get(name)
        if section is None:
            key = TOP.get(name)
            if key is None:
                raise ProfileError(
                    document.place(name), f"unknown key {printable(name, 64)}",
                    suggest(name, [*TOP, *(f"[{s}]" for s in known), *_all_keys(limits)]),
                )  # fmt: skip
            key.check(name, value, document.place(name), ProfileError)
            yield "", name, value
            continue
        if not isinstance(value, dict):
            hint = f"write [{name}] on a line of its own"
            raise ProfileError(document.place(name), f"{name} must be a table", hint)
        for inner, one in value.items():
            _check(document, name, inner, one, limits)
            yield name, inner, one


def _all_keys(limits: Limits) -> list[str]:
    return [f"{name}.{key}" for name, s in sections(limits).items() for key in s.keys]


def _check(document: Document, name: str, key: str, value: object, limits: Limits) -> None:
    section = sections(limits)[name]
    place = document.place(name, key)
    rule = section.keys.get(key)
    if rule is not None:
        rule.check(f"{name}.{key}", value, place, ProfileError)
        return
    if name == "why":
        if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
            hint = f"give the reason as a text of at most {MAX_TEXT} characters"
            raise ProfileError(place, f"the reason is {value_text(value)}", hint)
        return
    if not section.open:
        raise ProfileError(
            place, f"unknown key {printable(f'{name}.{key}', 96)}",
            suggest(f"{name}.{key}", [*TOP, *_all_keys(limits)]),
        )  # fmt: skip


def check_set(found: ProfileSet) -> list[ProfileError]:
    """Return an error for each game that two profiles of the same origin claim."""
    errors: list[ProfileError] = []
    claimed: dict[tuple[bool, str], Profile] = {}
    for profile in found.profiles.values():
        match = profile.match
        for kind, mark in [*(("appid", m) for m in match.appid), *(("exe", m) for m in match.exe)]:
            other = claimed.setdefault((profile.vendor, f"{kind} {mark}"), profile)
            if other is not profile:
                where = profile.where.get(f"match.{kind}", profile.name)
                hint = f"keep it in one of them; as it is, {other.name} is used"
                what = f"{kind} {printable(str(mark), 64)} is also in {other.name}"
                errors.append(ProfileError(where, what, hint))
    return errors


def without_reason(found: ProfileSet) -> list[ProfileError]:
    """Return an error for each setting of a shipped profile that has no reason."""
    return [
        ProfileError(
            profile.where.get(setting, profile.name),
            f"{setting} has no reason",
            f'add to [why]: "{setting}" = "…"',
        )
        for profile in found.profiles.values()
        if profile.vendor
        for setting in profile.settings
        if setting not in profile.why
    ]
