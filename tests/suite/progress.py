# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress of a run: the parts that run, the share that is done, and the time left by the durations of the last run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.vm.vmlib.debs import cache_dir


class Times:
    """Seconds of each part in the last run that measured it: times.json in the cache."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_dir() / "times.json"
        self.known: dict[str, float] = {}
        with suppress(OSError, ValueError):
            read = json.loads(self._path.read_text())
            self.known = {
                str(name): float(s) for name, s in read.items() if isinstance(s, int | float)
            }

    def of(self, name: str, estimate: float) -> float:
        return self.known.get(name, estimate)

    def measured(self, name: str, seconds: float) -> None:
        self.known[name] = round(seconds, 1)

    def save(self) -> None:
        """Written whole or not at all; a cache that cannot be written costs only the estimate."""
        new = self._path.with_name(f".times-{os.getpid()}")
        with suppress(OSError):
            new.write_text(json.dumps(self.known, indent=1, sort_keys=True))
            new.replace(self._path)


class Progress:
    """Counts parts. `expected` are their seconds, `workers` how many run side by side."""

    def __init__(self, expected: Mapping[str, float], workers: int, guessed: bool) -> None:
        self._left = dict(expected)
        self._total = len(expected)
        self._workers = workers
        self._source = "the estimates of tests/tiers.toml" if guessed else "the last run's times"
        self._began = time.monotonic()

    def done(self, name: str) -> None:
        self._left.pop(name, None)

    def seconds_left(self, running: Mapping[str, float]) -> float:
        now = time.monotonic()
        work = [max(0.0, s - (now - running.get(name, now))) for name, s in self._left.items()]
        return max([sum(work) / self._workers, *work], default=0.0)

    def line(self, running: Mapping[str, float]) -> str:
        now = time.monotonic()
        names = ", ".join(
            f"{name} ({now - began:.0f} s)" for name, began in sorted(running.items())
        )
        minutes = self.seconds_left(running) / 60
        return (
            f"-- {_clock(now - self._began)}: {self._total - len(self._left)} of {self._total} parts done;"
            f" running: {names or 'nothing'}; about {minutes:.0f} min left by {self._source}"
        )


class BusyCpus:
    """Share of this machine's CPU time that was used since the start: what is left over would carry more jobs."""

    def __init__(self) -> None:
        self._before = self._read()

    @staticmethod
    def _read() -> tuple[int, int]:
        """Idle ticks and all ticks, waiting for a disk being idle."""
        words = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return words[3] + words[4], sum(words)

    def percent(self) -> float:
        idle, total = (now - then for now, then in zip(self._read(), self._before, strict=True))
        return 100 * (1 - idle / total) if total else 0.0


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def any_unknown(names: Iterable[str], times: Times) -> bool:
    return any(name not in times.known for name in names)
