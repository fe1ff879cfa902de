# SPDX-License-Identifier: GPL-2.0-or-later
"""Inputs out of a corpus: cut, joined, damaged; those that reach new lines are bred on.

Small and ours, because what guides by coverage on PyPI has no build for every Python that we run on.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

MAX_INPUT = 1 << 14
MAX_POOL = 2000
TRACED = 4  # one of so many inputs is traced, which costs ten times as much
LEAST = 50  # inputs of a run, however slow the machine is
_ODD = [
    *(
        b"",
        b"\0",
        b"\n",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xe2\x80\xae",
        b"\x1b[2J",
        b"'",
        b'"',
        b"\\",
        b"=",
        b"%s",
        b"../",
    ),
    *(b"-1", b"0", b"1e999", b"nan", b"9" * 40, b"None", b"true", b"{}", b"[" * 200, b"A" * 300),
]


@dataclass
class Outcome:
    """The result of a run. `crash` is None, or the input and the error that it raised."""

    runs: int = 0
    lines: int = 0
    crash: tuple[bytes, BaseException] | None = None
    found: list[bytes] = field(default_factory=list)  # inputs that reached new lines


class Breeder:
    """Draws inputs. Deterministic for one seed and one sequence of `keep` calls."""

    def __init__(self, corpus: list[bytes], draw: random.Random) -> None:
        assert corpus, "a corpus has at least one file"
        self.pool = list(corpus)
        self._draw = draw
        self._words = [w for text in corpus for w in text.split() if len(w) < 64] + _ODD

    def keep(self, data: bytes) -> None:
        if len(self.pool) < MAX_POOL:
            self.pool.append(data)

    def next(self) -> bytes:
        data = bytearray(self._draw.choice(self.pool))
        for _ in range(self._draw.choice((1, 1, 1, 2, 3, 8))):
            self._damage(data)
        return bytes(data[:MAX_INPUT])

    def _damage(self, data: bytearray) -> None:
        draw = self._draw
        at, to = sorted(draw.randrange(len(data) + 1) for _ in range(2))
        match draw.randrange(7):
            case 0 if data:
                data[min(at, len(data) - 1)] = draw.randrange(256)
            case 1 if data:
                data[min(at, len(data) - 1)] ^= 1 << draw.randrange(8)
            case 2:
                del data[at:to]
            case 3:
                data[at:at] = data[at:to]
            case 4:
                data[at:at] = draw.choice(self._words)
            case 5:
                other = draw.choice(self.pool)
                start = draw.randrange(len(other) + 1)
                data[at:to] = other[start : start + draw.randrange(1, 200)]
            case _:
                lines = data.split(b"\n")
                draw.shuffle(lines)
                data[:] = b"\n".join(lines)


def fuzz(
    target: Callable[[bytes], None], corpus: list[bytes], seconds: float, seed: int, package: Path
) -> Outcome:
    """Feed `target` until it raises, or time is over and LEAST inputs are. Lines of files below `package` guide."""
    draw = random.Random(seed)
    breeder, outcome = Breeder(corpus, draw), Outcome()
    seen: set[tuple[Any, int]] = set()
    below = str(package)

    def on_line(frame: FrameType, event: str, _arg: object) -> Any:
        if event == "line":
            seen.add((frame.f_code, frame.f_lineno))
        return on_line

    def on_call(frame: FrameType, _event: str, _arg: object) -> Any:
        return on_line if frame.f_code.co_filename.startswith(below) else None

    end = time.monotonic() + seconds
    waiting = list(corpus)
    while time.monotonic() < end or outcome.runs < LEAST:
        data = waiting.pop() if waiting else breeder.next()
        traced = bool(waiting) or outcome.runs % TRACED == 0
        before = len(seen)
        try:
            if traced:
                sys.settrace(on_call)
            target(data)
        except BaseException as err:
            sys.settrace(None)
            if isinstance(err, KeyboardInterrupt):
                raise
            outcome.crash = data, err
            break
        finally:
            sys.settrace(None)
        outcome.runs += 1
        if len(seen) > before:
            breeder.keep(data)
            outcome.found.append(data)
    outcome.lines = len(seen)
    return outcome
