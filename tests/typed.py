# SPDX-License-Identifier: GPL-2.0-or-later
"""A JSON value against its type: TypedDicts, lists, dicts, unions and plain types."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict


def mismatches(value: Any, kind: Any, where: str = "") -> Iterator[str]:
    """Each place where `value` differs from `kind`; a key that the type lacks is one."""
    origin, args = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        if not isinstance(value, dict):
            yield f"{where} is a {type(value).__name__}, not an object"
            return
        yield from (f"{where}.{key} has no type" for key in value.keys() - hints.keys())
        yield from (f"{where}.{key} is missing" for key in kind.__required_keys__ - value.keys())
        for key in hints.keys() & value.keys():
            yield from mismatches(value[key], hints[key], f"{where}.{key}")
    elif origin is UnionType:
        if all(any(mismatches(value, one)) for one in args):
            yield f"{where} is a {type(value).__name__}, not {kind}"
    elif origin in (list, dict):
        if not isinstance(value, origin):
            yield f"{where} is a {type(value).__name__}, not {kind}"
            return
        items = value if isinstance(value, dict) else dict(enumerate(value))
        for at, item in items.items():
            yield from mismatches(item, args[-1], f"{where}.{at}")
    else:
        right = type(value) is kind or kind is object
        if not right and (kind, type(value)) != (float, int):
            yield f"{where} is a {type(value).__name__}, not {kind}"


def key_paths(kind: Any, where: str = "") -> Iterator[str]:
    """Every key of a TypedDict and of those in it."""
    for key, one in get_type_hints(kind).items():
        yield f"{where}{key}"
        for inner in (one, *get_args(one)):
            if is_typeddict(inner):
                yield from key_paths(inner, f"{where}{key}.")
