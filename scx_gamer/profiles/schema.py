# SPDX-License-Identifier: GPL-2.0-or-later
"""Sections and keys of a profile: the one source of the validation and of the published JSON Schema.

A new section is an entry in `sections`. Its values are read as `Profile.settings["section.key"]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from scx_gamer.config import network
from scx_gamer.config.rules import Rule, choice, line, listed, number
from scx_gamer.config.settings import MODES, POWER_PROFILES, RESOURCES

Limits = Mapping[str, tuple[int, int]]

MAX_TEXT = 1024
MAX_PATTERN = 256
MAX_APPID = (1 << 64) - 1  # non-Steam shortcuts have AppIDs of 64 bits
MIN_PATTERN = 4  # characters that are not wildcards
MAX_STARS = 8  # bounds the time of one match

SCHEMA_ID = "scx-gamer profile"


@dataclass(frozen=True)
class Section:
    """A table of keys. If `settings` is true, its keys are settings and [why] may name them."""

    about: str
    keys: Mapping[str, Rule] = field(default_factory=dict)
    settings: bool = True
    open: bool = False  # accepts unlisted keys, with any value


def _is_pattern(value: object) -> bool:
    if not isinstance(value, str) or not value.isprintable() or len(value) > MAX_PATTERN:
        return False
    return len(re.sub(r"[*?\[\]]", "", value)) >= MIN_PATTERN and value.count("*") <= MAX_STARS


_PATTERN = Rule(
    _is_pattern, "", {"type": "string", "minLength": MIN_PATTERN, "maxLength": MAX_PATTERN}
)
_EXE = line(MAX_PATTERN, "")
_APPID = number(1, MAX_APPID)


TOP = {"title": line(80, 'use a short text such as "Counter-Strike 2"'), "mode": choice(*MODES)}


def sections(limits: Limits) -> dict[str, Section]:
    """Return all tables. `limits` are the lowest and highest value of each tunable of abi.h."""
    return {
        "match": Section(
            "The games it applies to: AppID first, then exe, then command line.",
            {
                "appid": listed(_APPID, "use a list of Steam AppIDs such as [730]"),
                "exe": listed(_EXE, 'use a list of file names or paths such as ["cs2"]'),
                "cmdline": listed(
                    _PATTERN,
                    f'use a list of patterns such as ["*net.minecraft.client*"] of {MIN_PATTERN} or more characters',
                ),
            },
            settings=False,
        ),
        "tunables": Section(
            "The scheduler's tunables, in the unit of the name.",
            {name: number(low, high) for name, (low, high) in limits.items()},
        ),
        "network": Section("The limit on background traffic, as in config.toml.", network.RULES),
        "power": Section(
            "The power profile to hold while a game runs, as in config.toml.",
            {"profile": choice(*POWER_PROFILES)},
        ),
        "resources": Section("Memory and I/O of the game's side, as in config.toml.", RESOURCES),
        "why": Section(
            'The reason for each setting: "tunables.slice_us" = "…".', settings=False, open=True
        ),
    }


def json_schema(limits: Limits) -> dict[str, object]:
    """Return the published schema. A test keeps `profiles/schema.json` equal to it."""
    properties: dict[str, object] = {name: dict(key.schema) for name, key in TOP.items()}
    for name, section in sections(limits).items():
        table: dict[str, object] = {
            "type": "object",
            "description": section.about,
            "additionalProperties": section.open,
        }
        if section.keys:
            table["properties"] = {key: dict(k.schema) for key, k in section.keys.items()}
        if name == "why":
            table["additionalProperties"] = {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_TEXT,
            }
        properties[name] = table
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA_ID,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def schema_text(limits: Limits) -> str:
    """Return the content of `profiles/schema.json`."""
    return json.dumps(json_schema(limits), indent=2) + "\n"
