# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of a session: differences of the supervisor's counters, and their shape. Pure: no clock, no file."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from scx_gamer.sessions import SessionError
from scx_gamer.system.histogram import percentile_us

if TYPE_CHECKING:
    from scx_gamer.frames.gpu import GpuWork

RUNNING, ENDED, STOPPED, CUT = "running", "ended", "stopped", "cut"
STATES = {
    RUNNING: "the game runs",
    ENDED: "the game ended",
    STOPPED: "the supervisor was stopped while the game ran",
    CUT: "the supervisor was killed while the game ran: the last seconds are not in the record",
}
FAVOURED = ("game", "critical")  # classes that count as the game: itself, and what it waits for
MAX_NAMES = 32  # programs of one record
_MAX_PROGRAMS = 16  # that a record has times of
_COMM = 15  # characters of a program's name that the kernel keeps
_OF_CPU = re.compile(r"/[0-9:]+$")  # one kernel thread a CPU is one program
MAX_TEXT = 128  # characters of a text of a record
MAX_FIGURES = 64 * 1024  # bytes of the figures of a record
_MAX_LIST = 512
_SHARES = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}

Figures = dict[str, Any]  # the shape is _FIGURES
Values = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Power:
    """Energy of the machine since its source was opened."""

    source: str  # "rapl": the packages of the CPUs; "battery": the whole machine
    joules: float
    seconds: float  # in which it was measured


class ProgramTimes(NamedTuple):
    """Times of a program's threads of one class, in nanoseconds; all but the longest ones count up."""

    taken_ns: int = 0  # it ran where a thread of the game waited for that CPU
    taken: int = 0  # waits of the game in which it did
    taken_max_ns: int = 0
    waited_ns: int = 0  # of class background alone, as the rest
    waited_max_ns: int = 0
    ran_ns: int = 0


Programs = Mapping[tuple[str, str], ProgramTimes]  # by program and class


@dataclass(frozen=True)
class Reading:
    """Figures of the supervisor at one moment; those that count rise over its whole life."""

    time_s: float  # CLOCK_MONOTONIC
    attached: bool
    profile: str
    classes: Sequence[str]  # names of the classes, in the order of the counters
    counters: Values  # struct scxg_cpu_stats, summed over CPUs and generations
    longest_ns: Sequence[int]  # longest waits of the last minute, by class
    attaches: int
    exits: Mapping[str, int]  # ends of the scheduler, by kind
    windows: int  # boost windows opened
    held_back: frozenset[str] = frozenset()  # programs of class background
    power: Power | None = None
    programs: Programs | None = None  # None while nothing measures them
    gpu: GpuWork | None = None  # likewise; since a game had begun


@dataclass
class Session:
    """A session that runs. `began` is in seconds since 1970, `since_s` on CLOCK_MONOTONIC."""

    uid: int
    game: str
    app_id: str
    began: int
    since_s: float
    base: Reading
    last: Reading
    id: int = 0  # of the record; 0 before it was written
    profile: str = ""
    attached_s: float = 0.0
    samples: int = 0  # of its timeline
    frames: Figures | None = None  # so far, as in the record
    longest_ns: list[int] = field(default_factory=list)
    held_back: set[str] = field(default_factory=set)

    def advance(self, now: Reading) -> None:
        """Go on to a reading: the scheduler was between the last one and `now` what it was at the last one."""
        if self.last.attached:
            self.attached_s += now.time_s - self.last.time_s
        longest = self.longest_ns or [0] * len(now.longest_ns)
        if now.longest_ns:  # else no scheduler ran in the last minute
            self.longest_ns = [max(pair) for pair in zip(longest, now.longest_ns, strict=True)]
        self.held_back |= set(sorted(now.held_back)[: MAX_NAMES - len(self.held_back)])
        self.last = now

    def figures(self) -> Figures:
        """Return the figures from the beginning to the last reading."""
        return figures(self.base, self.last, self.longest_ns) | {
            "attached_s": round(max(0.0, self.attached_s), 1),
            "held_back": sorted(self.held_back),
            "held": _held(self.base.programs, self.last.programs, self.held_back),
            "frames": self.frames,
        }


def figures(base: Reading, now: Reading, longest_ns: Sequence[int]) -> Figures:
    """Return the differences of two readings. Waits and input are None where nothing was counted."""
    grown = {name: _grown(now.counters[name], base.counters.get(name, ())) for name in now.counters}
    waits = by_class(grown, now.classes)
    for number, name in enumerate(now.classes):
        if name in waits:
            waits[name]["longest_us"] = _longest_us(
                waits[name]["histogram"], longest_ns[number : number + 1]
            )
    input_hist = _trimmed(grown.get("input_hist", ()))
    count = sum(input_hist)
    mean_us = round(grown["input_sum_ns"][0] / count / 1e3, 1) if count else 0
    return {
        "waits": waits or None,
        "cpu_s": _named(grown.get("run_ns", ()), now.classes, 1e9),
        "preemptions": _named(grown.get("preempt_kicks", ()), now.classes, 1),
        "input": {"count": count, "mean_us": mean_us, "histogram": input_hist} if count else None,
        "boosts": max(0, now.windows - base.windows),
        "attaches": max(0, now.attaches - base.attaches),
        "exits": {k: n - base.exits.get(k, 0) for k, n in now.exits.items() if n > base.exits.get(k, 0)},
        "power": _power(base.power, now.power),
        "gpu": _gpu(base.gpu, now.gpu),
        "taken": taken(base.programs, now.programs),
    }  # fmt: skip


def taken(base: Programs | None, now: Programs | None) -> Figures | None:
    """Return the CPU time that programs had while the game waited for it, the game's own threads apart; most first."""
    if now is None:
        return None
    by: defaultdict[str, Figures] = defaultdict(lambda: {"s": 0.0, "times": 0, "longest_ms": 0.0})
    game_ns = 0
    for (program, class_name), times in now.items():
        before = (base or {}).get((program, class_name), ProgramTimes())
        if (ns := times.taken_ns - before.taken_ns) <= 0:
            continue
        if class_name == "game":
            game_ns += ns
            continue
        one = by[_OF_CPU.sub("", program)]
        one["s"] += ns / 1e9
        one["times"] += times.taken - before.taken
        one["longest_ms"] = max(one["longest_ms"], times.taken_max_ns / 1e6)
    most = sorted(by.items(), key=lambda item: -item[1]["s"])
    return {
        "game_s": round(game_ns / 1e9, 3),
        "others_s": round(sum(one["s"] for one in by.values()), 3),
        "programs": [
            {"program": program, **{key: round(value, 3) for key, value in one.items()}}
            for program, one in most[:_MAX_PROGRAMS]
        ],
    }


def _held(
    base: Programs | None, now: Programs | None, names: Collection[str]
) -> list[Figures] | None:
    """Return how long programs of class background waited and ran, most waited first; `names` are whole ones."""
    if now is None:
        return None
    whole = {name[:_COMM]: name for name in names}
    found = []
    for (program, class_name), times in now.items():
        before = (base or {}).get((program, class_name), ProgramTimes())
        if class_name == "background" and (ns := times.waited_ns - before.waited_ns) > 0:
            found.append(
                {
                    "program": whole.get(program, program),
                    "waited_s": round(ns / 1e9, 3),
                    "ran_s": round((times.ran_ns - before.ran_ns) / 1e9, 3),
                    "longest_ms": round(times.waited_max_ns / 1e6, 3),
                }
            )
    return sorted(found, key=lambda one: -float(one["waited_s"]))[:_MAX_PROGRAMS]  # type: ignore[arg-type]


def by_class(grown: Values, classes: Sequence[str]) -> dict[str, Figures]:
    """Return count, mean and histogram of the waits of each class that waited."""
    hist, sums = grown.get("wait_hist", ()), grown.get("wait_sum_ns", ())
    size = len(hist) // max(len(classes), 1)
    found: dict[str, Figures] = {}
    for number, name in enumerate(classes):
        buckets = _trimmed(hist[number * size : (number + 1) * size])
        if count := sum(buckets):
            mean_us = round(sums[number] / count / 1e3, 1)
            found[name] = {"count": count, "mean_us": mean_us, "histogram": buckets}
    return found


def merged(waits: Mapping[str, Figures] | None, names: Sequence[str]) -> Figures | None:
    """Return the waits of several classes as those of one, with percentiles; None without any."""
    found = [one for name, one in (waits or {}).items() if name in names]
    if not found:
        return None
    size = max(len(one["histogram"]) for one in found)
    padded = [[*one["histogram"], *[0] * (size - len(one["histogram"]))] for one in found]
    total = [sum(column) for column in zip(*padded, strict=True)]
    count = sum(total)
    mean_us = round(sum(one["mean_us"] * one["count"] for one in found) / count, 1) if count else 0
    longest_us = max(one["longest_us"] for one in found)
    return percentiles(
        {"count": count, "mean_us": mean_us, "histogram": total, "longest_us": longest_us}
    )


def percentiles(one: Figures) -> Figures:
    """Return a histogram's figures with its percentiles, which are ends of buckets but never above the longest time."""
    longest = one.get("longest_us") or math.inf
    return one | {
        name: min(percentile_us(one["histogram"], share), longest)
        for name, share in _SHARES.items()
    }


def _grown(now: Sequence[int], base: Sequence[int]) -> list[int]:
    return [max(0, n - b) for n, b in zip(now, base or [0] * len(now), strict=False)]


def _trimmed(buckets: Sequence[int]) -> list[int]:
    """Return the buckets up to the last one with a count."""
    used = [number for number, count in enumerate(buckets) if count]
    return list(buckets[: used[-1] + 1]) if used else []


def _named(values: Sequence[int], classes: Sequence[str], unit: float) -> dict[str, float]:
    return {
        name: round(value / unit, 3)
        for name, value in zip(classes, values, strict=False)
        if value
    }  # fmt: skip


def _longest_us(buckets: Sequence[int], recent_ns: Sequence[int]) -> float:
    """Return the longest wait: the maximum that was seen, unless that one was before the session."""
    end_us = float(1 << (len(buckets) - 1))
    return min(end_us, max(recent_ns, default=0) / 1e3 or end_us)


def _power(base: Power | None, now: Power | None) -> Figures | None:
    if now is None:
        return None
    if base is None or base.source != now.source:
        base = Power(now.source, 0.0, 0.0)
    joules, seconds = now.joules - base.joules, now.seconds - base.seconds
    if seconds <= 0:
        return None
    return {"source": now.source, "joules": round(joules, 1), "seconds": round(seconds, 1)}


def _gpu(base: GpuWork | None, now: GpuWork | None) -> Figures | None:
    """Return the work after `base`, or all of it where the measurement began later; None without any."""
    if now is not None and base is not None and base.began_ns == now.began_ns:
        now = now.since(base)
    if now is None or not now.jobs:
        return None
    return {
        "busy_s": round(max(0, now.busy_ns) / 1e9, 3),
        "seconds": round((now.at_ns - now.began_ns) / 1e9, 3),
        "jobs": now.jobs,
    }


# ---- the shape of what a database holds ----------------------------------------------------------

_NUMBER = (int, float)
_TIMES = {"count": int, "mean_us": _NUMBER, "histogram": [int]}
_FRAMES = {
    "source": str, "count": int, "mean_fps": _NUMBER, "low_1_fps": _NUMBER, "low_01_fps": _NUMBER,
    "missed": int, "target_ms": _NUMBER, "longest_ms": _NUMBER, "histogram": [[_NUMBER]],
}  # fmt: skip
_TAKEN = {"program": str, "s": _NUMBER, "times": int, "longest_ms": _NUMBER}
_HELD = {"program": str, "waited_s": _NUMBER, "ran_s": _NUMBER, "longest_ms": _NUMBER}
_FIGURES: dict[str, Any] = {
    "attached_s": _NUMBER,
    "waits": {str: {**_TIMES, "longest_us": _NUMBER}, None: None},
    "cpu_s": {str: _NUMBER},
    "preemptions": {str: _NUMBER},
    "input": {**_TIMES, None: None},
    "boosts": int,
    "attaches": int,
    "exits": {str: int},
    "held_back": [str],
    "power": {"source": str, "joules": _NUMBER, "seconds": _NUMBER, None: None},
    "gpu": {"busy_s": _NUMBER, "seconds": _NUMBER, "jobs": int, None: None},
    "frames": {**_FRAMES, None: None},
    "taken": {"game_s": _NUMBER, "others_s": _NUMBER, "programs": [_TAKEN], None: None},
    "held": [_HELD, None],
}
# Figures that records of earlier versions lack.
_LATER: Figures = {"taken": None, "held": None, "gpu": None}


def parse(text: object) -> Figures:
    """Return the figures of a record of the database. Raises SessionError."""
    if not isinstance(text, str) or len(text) > MAX_FIGURES:
        raise SessionError("a record has no figures")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise SessionError("the figures of a record are not JSON") from err
    if isinstance(value, dict):
        value = _LATER | value
    if not _fits(value, _FIGURES):
        raise SessionError("the figures of a record are malformed")
    assert isinstance(value, dict)
    return value


def _fits(value: object, shape: Any) -> bool:
    """Return True if a value has a shape: a type, types, [items], {key: value}, {str: value}; None in it: or null."""
    if isinstance(shape, list):
        if value is None:
            return None in shape
        if not isinstance(value, list) or len(value) > _MAX_LIST:
            return False
        if shape[0] in (int, _NUMBER):  # most of a record: two hundred calls less
            types = shape[0] if isinstance(shape[0], tuple) else (shape[0],)
            return all(type(one) in types and 0 <= one < 1 << 63 for one in value)
        return all(_fits(one, shape[0]) for one in value)
    if isinstance(shape, dict):
        if value is None:
            return None in shape
        keys = {key: one for key, one in shape.items() if key is not None}
        if not isinstance(value, dict) or len(value) > _MAX_LIST:
            return False
        if str in keys:
            return all(len(k) <= MAX_TEXT and _fits(v, keys[str]) for k, v in value.items())
        return value.keys() == keys.keys() and all(_fits(value[k], keys[k]) for k in keys)
    if shape is str:
        return isinstance(value, str) and len(value) <= MAX_TEXT
    # not bool, and neither NaN nor infinity, which fail the comparison: readers compute with it
    types = shape if isinstance(shape, tuple) else (shape,)
    return type(value) in types and 0 <= value < 1 << 63  # type: ignore[operator]
