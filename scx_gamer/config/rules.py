# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules for the values of TOML files: the one validator of the configuration, of profiles and of `[network]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from scx_gamer.config.toml import ConfigError, value_text
from scx_gamer.system.text import printable

MAX_LIST = 64
MAX_STRING = 256


@dataclass(frozen=True)
class Rule:
    """The predicate that accepts a value, the hint for a refused one, and the same as JSON Schema."""

    accepts: Callable[[object], bool]
    hint: str
    schema: Mapping[str, object] = field(default_factory=dict)

    def check(
        self, name: str, value: object, place: str, error: type[ConfigError] = ConfigError
    ) -> None:
        """Raise `error` if the value of `name` is refused."""
        if not self.accepts(value):
            raise error(place, f"{printable(name, 96)} is {value_text(value)}", self.hint)


FLAG = Rule(lambda v: isinstance(v, bool), "use true or false", {"type": "boolean"})


def choice(*words: str) -> Rule:
    """Return a rule for one of `words`."""
    quoted = [f'"{word}"' for word in words]
    return Rule(lambda v: v in words, f"use {' or '.join(quoted)}", {"enum": list(words)})


def number(low: int, high: int, hint: str = "") -> Rule:
    """Return a rule for an integer from `low` to `high`."""
    return Rule(
        lambda v: type(v) is int and low <= v <= high,
        hint or f"use a whole number from {low} to {high}",
        {"type": "integer", "minimum": low, "maximum": high},
    )


def line(longest: int, hint: str) -> Rule:
    """Return a rule for one line of text."""
    return Rule(
        lambda v: (
            isinstance(v, str) and 0 < len(v) <= longest and v.isprintable() and v.strip() == v
        ),
        hint,
        {"type": "string", "minLength": 1, "maxLength": longest},
    )


def parsed(parse: Callable[[str], object], hint: str) -> Rule:
    """Return a rule for a text that `parse` takes without a ValueError."""

    def accepts(value: object) -> bool:
        if not isinstance(value, str) or not 0 < len(value) <= MAX_STRING:
            return False
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return Rule(accepts, hint, {"type": "string"})


def listed(one: Rule, hint: str) -> Rule:
    """Return a rule for a list of 1 to MAX_LIST values that `one` accepts."""
    return Rule(
        lambda v: isinstance(v, list) and 0 < len(v) <= MAX_LIST and all(map(one.accepts, v)),
        hint,
        {"type": "array", "minItems": 1, "maxItems": MAX_LIST, "items": dict(one.schema)},
    )


def any_list(one: Rule, hint: str) -> Rule:
    """Return a rule for a list, also an empty one, of values that `one` accepts."""
    return Rule(
        lambda v: isinstance(v, list) and all(map(one.accepts, v)),
        hint,
        {"type": "array", "items": dict(one.schema)},
    )
