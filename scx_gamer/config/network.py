# SPDX-License-Identifier: GPL-2.0-or-later
"""The `[network]` section: rates and times with units, targets, and the settings made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from scx_gamer.config.rules import FLAG, any_list, choice, parsed
from scx_gamer.system.errors import ScxGamerError

# Bytes a second. Below the lowest, connections lose their keep-alives; above the highest, no line is a bottleneck.
LOWEST_RATE = 16_000
HIGHEST_RATE = 1_250_000_000
SCOPES = ("internet", "all")
KINDS = ("cgroup", "task")
TARGET_KINDS = ("unit", "exe", "app")
LONGEST_S = 7 * 86400.0

_PREFIX = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMG]i?)?\s*(bit/s|bits/s|bps|bit|b/s|B/s)?", re.ASCII)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)?", re.ASCII)
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NO_LIMIT = ("unlimited", "none", "0")
RATE_HINT = (
    'write a rate such as "8 Mbit/s" or "1 MB/s", from 128 kbit/s to 10 Gbit/s, or "unlimited"'
)
TIME_HINT = 'write a time such as "90s", "30m" or "2h", at most 7d'
TARGET_HINT = 'write targets as "unit:PATTERN", "exe:NAME" or "app:NAME"'


class UnitError(ScxGamerError, ValueError):
    """A text that is not a rate, time or target. str() is the text and a hint with valid examples."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(f"{text[:64]!a}", hint=hint)


def parse_rate(text: str) -> int:
    """Return bytes a second, 0 for no limit. A bare number is in bits a second. Raises UnitError."""
    if text.strip() in _NO_LIMIT:
        return 0
    found = _RATE.fullmatch(text.strip()[:64])
    if not found:
        raise UnitError(text, RATE_HINT)
    prefix = (found[2] or "").replace("K", "k")
    amount = float(found[1]) * _PREFIX[prefix.replace("ki", "Ki")]
    rate = round(amount if found[3] == "B/s" else amount / 8)
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise UnitError(text, RATE_HINT)
    return rate


def format_rate(rate: float) -> str:
    """Format bytes a second in bits, as parse_rate() takes them: 1000000 is `8 Mbit/s`."""
    bits = float(f"{rate * 8:.3g}")  # before the prefix is chosen: 999.9 kbit/s are 1 Mbit/s
    for prefix in ("G", "M", "k"):
        if bits >= _PREFIX[prefix]:
            return f"{bits / _PREFIX[prefix]:g} {prefix}bit/s"
    return f"{bits:.0f} bit/s"


def parse_time(text: str) -> float:
    """Return seconds. Raises UnitError."""
    found = _TIME.fullmatch(text.strip()[:64])
    seconds = float(found[1]) * _SECONDS[found[2] or ""] if found else 0.0
    if not 0 < seconds <= LONGEST_S:
        raise UnitError(text, TIME_HINT)
    return seconds


@dataclass(frozen=True)
class Target:
    """A selection of programs. `kind` is unit (a pattern), exe (a path or its last part), app, or pid."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.text}"


def parse_target(text: str) -> Target:
    """Parse a target of the configuration, `KIND:TEXT`. Raises UnitError."""
    kind, colon, rest = text.strip().partition(":")
    if not colon or kind not in TARGET_KINDS or not rest or len(rest) > 256 or "\0" in rest:
        raise UnitError(text, TARGET_HINT)
    return Target(kind, rest)


def parse_cli_target(text: str) -> Target:
    """Parse a target of the command line, where a pid, a unit name and an exe need no prefix. Raises UnitError."""
    text = text.strip()
    if re.fullmatch(r"[1-9][0-9]{0,9}", text):
        return Target("pid", text)
    if text.partition(":")[0] in TARGET_KINDS:
        return parse_target(text)
    if text.endswith((".service", ".scope", ".slice")):
        return parse_target(f"unit:{text}")
    if ":" in text:
        raise UnitError(text, f"give a process ID, or {TARGET_HINT}")
    return parse_target(f"exe:{text}")


@dataclass(frozen=True)
class Limit:
    """A requested limit: bytes a second (0 for no limit), the remotes it covers, the unit it is charged to."""

    down: int
    up: int
    scope: str = "internet"
    kind: str = "cgroup"


@dataclass(frozen=True)
class NetworkSettings:
    """The values of a `[network]` section."""

    enabled: bool
    limit: Limit
    targets: tuple[Target, ...]
    protected: tuple[str, ...]


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


RULES = {
    "enabled": FLAG,
    "down": parsed(parse_rate, RATE_HINT),
    "up": parsed(parse_rate, RATE_HINT),
    "scope": choice(*SCOPES),
    "kind": choice(*KINDS),
    "targets": any_list(parsed(parse_target, ""), f"use a list; {TARGET_HINT}"),
    "protected": any_list(parsed(str, ""), "use a list of program names"),
}


def settings_of(values: Mapping[str, object]) -> NetworkSettings:
    """Return the settings of values that RULES accepted, one for each key."""
    return NetworkSettings(
        enabled=values["enabled"] is True,
        limit=Limit(
            parse_rate(str(values["down"])),
            parse_rate(str(values["up"])),
            str(values["scope"]),
            str(values["kind"]),
        ),
        targets=tuple(parse_target(text) for text in _texts(values["targets"])),
        protected=_texts(values["protected"]),
    )
