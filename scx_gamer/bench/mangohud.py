# SPDX-License-Identifier: GPL-2.0-or-later
"""Frame times in logs of MangoHud, and the comparison of two logs."""

import random
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.bench.verdict import CONFIDENCE, DRAWS, Interval, noise_of, quantile
from scx_gamer.bench.workload import BenchError
from scx_gamer.frames.mangohud_log import LogError, LogParser
from scx_gamer.frames.stats import low_fps

BLOCK = 60  # frames resampled together, because neighbouring frames correlate
_MIN_BLOCKS = 10


@dataclass(frozen=True)
class Frames:
    """Frame times of a log, in ms."""

    name: str
    times_ms: tuple[float, ...]

    @property
    def mean_fps(self) -> float:
        return 1000 * len(self.times_ms) / sum(self.times_ms)

    @property
    def low1_fps(self) -> float:
        """Mean frame rate of the slowest hundredth of the frames."""
        return low_fps(self.times_ms)

    def blocks(self) -> list[tuple[float, ...]]:
        """Return the whole blocks of neighbouring frames."""
        return [
            self.times_ms[i : i + BLOCK] for i in range(0, len(self.times_ms) - BLOCK + 1, BLOCK)
        ]


def read(path: Path) -> Frames:
    """Parse a log: system lines, then a header with `frametime` in ms, then frames. Raises BenchError."""
    log = LogParser()
    try:
        rows = log.feed(path.read_text(errors="replace")) + log.end()
    except OSError as e:
        raise BenchError(f"{path}: {e.strerror}", errno=e.errno or 0) from e
    except LogError as e:
        raise BenchError(f"{path} is not a MangoHud log: {e}") from e
    if not log.has_header:
        raise BenchError(
            f"{path} is not a MangoHud log: it has no column 'frametime'",
            hint="log with MANGOHUD_CONFIG=output_folder=DIR,log_duration=60",
        )
    times = [row.took_ms for row in rows]
    if len(times) < _MIN_BLOCKS * BLOCK:
        raise BenchError(
            f"{path} has only {len(times)} frames",
            hint=f"{_MIN_BLOCKS * BLOCK} are needed; log for longer",
        )
    return Frames(path.name, tuple(times))


@dataclass(frozen=True)
class Comparison:
    """The comparison of two logs, B relative to A."""

    a: Frames
    b: Frames
    mean: Interval
    low1: Interval
    noise: float

    def lines(self) -> list[str]:
        """Return the lines of a table, with the verdict last."""
        rows = [f"{'':<10}{'A':>10}{'B':>10}   change [95 %]"]
        for what, one, two, change in (
            ("mean fps", self.a.mean_fps, self.b.mean_fps, self.mean),
            ("1 % low", self.a.low1_fps, self.b.low1_fps, self.low1),
        ):
            rows.append(
                f"{what:<10}{one:10.1f}{two:10.1f}   {change.middle:+.1%}"
                f" [{change.low:+.1%} {change.high:+.1%}]"
            )
        if not self.low1.sure or abs(self.low1.middle) <= self.noise:
            word = f"no difference beyond the noise of {self.noise:.0%} inside A"
        else:
            word = f"B is {'better' if self.low1.middle > 0 else 'worse'}, sure"
        rows.append(f"1 % low {self.a.low1_fps:.0f} -> {self.b.low1_fps:.0f} fps: {word}")
        return rows


def compare(a: Frames, b: Frames, seed: int = 1) -> Comparison:
    """Bootstrap blocks of neighbouring frames. The noise is the difference between the halves of A."""
    generator = random.Random(seed)
    one, two = a.blocks(), b.blocks()
    means: list[float] = []
    lows: list[float] = []
    for _ in range(DRAWS // 4):
        drawn_a = [t for block in generator.choices(one, k=len(one)) for t in block]
        drawn_b = [t for block in generator.choices(two, k=len(two)) for t in block]
        means.append((len(drawn_b) / sum(drawn_b)) / (len(drawn_a) / sum(drawn_a)) - 1)
        lows.append(low_fps(drawn_b) / low_fps(drawn_a) - 1)
    tail = (1 - CONFIDENCE) / 2
    half = len(a.times_ms) // 2
    return Comparison(
        a, b,
        Interval(b.mean_fps / a.mean_fps - 1, quantile(means, tail), quantile(means, 1 - tail)),
        Interval(b.low1_fps / a.low1_fps - 1, quantile(lows, tail), quantile(lows, 1 - tail)),
        noise_of([low_fps(a.times_ms[:half]), low_fps(a.times_ms[half:])]),
    )  # fmt: skip
