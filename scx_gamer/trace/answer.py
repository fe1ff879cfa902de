# SPDX-License-Identifier: GPL-2.0-or-later
"""The result of a probe: a histogram for each name, percentiles, and their display."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scx_gamer.system.text import printable, time_text

SCHEMA = 1
_BAR = 32  # columns of the longest bar
_FIRST_POWER = 10  # values below 2^10 ns, about 1 us, share one line
# Slots of 64-bit values: slot_of() in common.c.
_SLOTS = frozenset(range(8)) | frozenset(range(3 << 3, 64 << 3))


def slot_end_ns(slot: int) -> int:
    """Return the first value above a slot of common.c, in nanoseconds."""
    if slot < 8:
        return slot + 1
    power, part = slot >> 3, slot & 7
    return (8 + part + 1) << (power - 3)


@dataclass(frozen=True)
class Group:
    """All values with one name. `slots` maps a slot to its number of values."""

    name: str
    slots: Mapping[int, int]
    max_ns: int

    @property
    def count(self) -> int:
        return sum(self.slots.values())

    def percentile_us(self, share: float) -> float:
        """Return the upper end of the percentile's slot, at most the largest value. It is never too low."""
        wanted = math.ceil(share * self.count)
        seen = 0
        for slot in sorted(self.slots):
            seen += self.slots[slot]
            if seen >= wanted:
                return min(slot_end_ns(slot), self.max_ns) / 1e3
        return 0.0

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "count": self.count,
            "p50_us": self.percentile_us(0.5),
            "p99_us": self.percentile_us(0.99),
            "max_us": self.max_ns / 1e3,
            "histogram": [[slot_end_ns(s) / 1e3, self.slots[s]] for s in sorted(self.slots)],
        }


@dataclass(frozen=True)
class Answer:
    """The result of a question. `groups` are sorted by count; `lost` is the number of values that did not fit."""

    question: str
    pid: int | None
    seconds: float
    groups: tuple[Group, ...]
    lost: int = 0
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Answer:
        """Parse the output of the child. Raises ValueError, KeyError or TypeError if it is malformed."""
        groups = [
            Group(
                str(group["name"]),
                {int(slot): int(n) for slot, n in group["slots"]},
                int(group["max_ns"]),
            )
            for group in body["groups"]
        ]
        if any(slot not in _SLOTS for group in groups for slot in group.slots):
            raise ValueError("unknown histogram slot")
        groups.sort(key=lambda group: (-group.count, group.name))
        pid = body["pid"]
        return cls(
            str(body["question"]),
            None if pid is None else int(pid),
            float(body["seconds"]),
            tuple(groups),
            int(body["lost"]),
            tuple(str(note) for note in body["notes"]),
        )

    def as_dict(self) -> dict[str, object]:
        """Return the result in the schema of `trace --json`."""
        return {
            "schema": SCHEMA,
            "question": self.question,
            "pid": self.pid,
            "seconds": self.seconds,
            "lost": self.lost,
            "notes": list(self.notes),
            "groups": [group.as_dict() for group in self.groups],
        }

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Return table rows of name, count, p50, p99, max."""
        return [
            (
                group.name,
                str(group.count),
                time_text(group.percentile_us(0.5)),
                time_text(group.percentile_us(0.99)),
                time_text(group.max_ns / 1e3),
            )
            for group in self.groups
        ]

    def histogram(self) -> list[str]:
        """Return the histogram of all groups together, one line for each power of two."""
        powers: dict[int, int] = {}
        for group in self.groups:
            for slot, number in group.slots.items():
                power = max((slot_end_ns(slot) - 1).bit_length(), _FIRST_POWER)
                powers[power] = powers.get(power, 0) + number
        if not powers:
            return []
        most = max(powers.values())
        return [
            f"{'< ' + time_text((1 << power) / 1e3):>10}  {powers.get(power, 0):>8}  "
            + "#" * math.ceil(_BAR * powers.get(power, 0) / most)
            for power in range(min(powers), max(powers) + 1)
        ]


def from_tables(
    buckets: Iterable[tuple[bytes, int, int]], largest: Mapping[bytes, int], unnamed: str
) -> list[dict[str, object]]:
    """Return groups in the child's output format, from (name, slot, count) rows and the largest value of each name."""
    slots: dict[bytes, list[tuple[int, int]]] = {}
    for name, slot, number in buckets:
        slots.setdefault(name, []).append((slot, number))
    return [
        {
            "name": printable(name.split(b"\0")[0]) or unnamed,
            "slots": sorted(found),
            "max_ns": largest.get(name, slot_end_ns(max(slot for slot, _ in found))),
        }
        for name, found in slots.items()
    ]
