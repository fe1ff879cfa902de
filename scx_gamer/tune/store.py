# SPDX-License-Identifier: GPL-2.0-or-later
"""The courses of all games, in one bounded JSON file. A malformed course is left out."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scx_gamer.bench.verdict import Interval
from scx_gamer.compare.blocks import LOOKS, Block, CompareError, Result
from scx_gamer.system.files import write_atomic
from scx_gamer.system.text import printable
from scx_gamer.tune.course import ROUNDS, Arm, Course, Kept

log = logging.getLogger(__name__)

SCHEMA = 1
MAX_BYTES = 1 << 20
MAX_GAMES = 64  # the one without a kept setting that was tuned longest ago leaves first
_MAX_ITEMS = 256  # of a list
MAX_TEXT = 200  # characters of a name or version


def load(path: Path) -> dict[str, Course]:
    """Return the courses by game, least lately tuned first. Raises CompareError for a file that is unreadable."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise CompareError(f"cannot read {path}: {err.strerror}", err.errno or 0) from err
    try:
        raw = json.loads(data)
        if raw["schema"] != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        games = list(_of(raw["games"], dict).items())
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise CompareError(
            f"{path} is malformed: {printable(str(err), MAX_TEXT)}", hint="remove it to begin anew"
        ) from err
    found = {}
    for name, course in games[-MAX_GAMES:]:
        try:
            found[_text(name)] = _course(course)
        except (ValueError, KeyError, TypeError) as err:
            log.warning("%s: a game is left out: %s", path, printable(str(err), MAX_TEXT))
    return found


def save(path: Path, courses: dict[str, Course]) -> None:
    """Write the courses. Raises CompareError."""
    while len(courses) > MAX_GAMES:
        names = list(courses)[:-1]  # the last one is being tuned
        courses.pop(next((name for name in names if not courses[name].kept), names[0]))
    games = {name: asdict(course) for name, course in courses.items()}
    for one in games.values():
        result = one.pop("result")
        one["pairs"], one["discarded"] = result["pairs"], result["discarded"]
    try:
        data = json.dumps({"schema": SCHEMA, "games": games}).encode()
        write_atomic(path, data, 0o644, sync=True)
    except OSError as err:
        raise CompareError(f"cannot write {path}: {err.strerror}", err.errno or 0) from err


def _course(raw: Mapping[str, Any]) -> Course:
    pairs = [(_block(a), _block(b)) for a, b in _items(raw["pairs"])]
    # A look at the same pairs again costs no error, so one that was not acted upon is repeated.
    looks = sum(count < len(pairs) for count, _ in LOOKS)
    result = Result(pairs[: LOOKS[-1][0]], _two(raw["discarded"]), looks)
    kept = {_text(name): _kept(one) for name, one in list(_of(raw["kept"], dict).items())[:64]}
    return Course(
        kernel=_text(raw["kernel"]),
        game=_text(raw["game"]),
        kept=kept,
        arms=[_arm(one) for one in _items(raw["arms"])],
        rung=_count(raw["rung"], 64),
        result=result,
        checks=[name for name in map(_text, _items(raw["checks"])) if name in kept],
        lost=_count(raw["lost"], ROUNDS),
        began=_text(raw["began"]),
        checked=_text(raw["checked"]),
        failed=[(_text(name), _count(value)) for name, value in _items(raw.get("failed", []))],
    )


def _arm(raw: Mapping[str, Any]) -> Arm:
    return Arm(
        _text(raw["name"]),
        _count(raw["value"]),
        [_real(one) for one in _items(raw["logs"])],
        _two(raw["discarded"]),
        _count(raw["worse"]),
    )


def _kept(raw: Mapping[str, Any]) -> Kept:
    change = Interval(*(_real(raw["change"][key]) for key in ("middle", "low", "high")))
    texts = (_text(raw[key]) for key in ("since", "until", "kernel", "game", "version"))
    return Kept(_count(raw["value"]), _count(raw["before"]), change, _count(raw["pairs"]), *texts)


def _block(raw: Mapping[str, Any]) -> Block:
    found = Block(_count(raw["frames"]), _real(raw["mean_fps"]), _real(raw["low1_fps"]))
    if found.mean_fps <= 0 or found.low1_fps <= 0:
        raise ValueError("a frame rate is not positive")
    return found


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{printable(repr(value), 40)} is not of type {kind.__name__}")
    return value


def _items(value: Any) -> list[Any]:
    found: list[Any] = _of(value, list)
    if len(found) > _MAX_ITEMS:
        raise ValueError("a list is too long")
    return found


def _text(value: Any) -> str:
    """Return a text as it was saved: escaping it here would add to it with every load, and lose its game."""
    found: str = _of(value, str)
    if len(found) > MAX_TEXT or not found.isprintable():
        raise ValueError(f"{printable(repr(found), 40)} is too long or not printable")
    return found


def _count(value: Any, most: int = (1 << 31) - 1) -> int:
    found: int = _of(value, int)
    if not 0 <= found <= most:
        raise ValueError(f"{printable(str(found), 40)} is out of range")
    return found


def _real(value: Any) -> float:
    if not math.isfinite(_of(value, float)):
        raise ValueError("a number is not finite")
    return float(value)


def _two(value: Any) -> list[int]:
    one, other = map(_count, _items(value))
    return [one, other]
