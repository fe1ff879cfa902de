# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs of a run: a queue over the CPUs, first come first served; what measures time runs beside little."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
PYTHON = "build/venv/bin/python"
Counter = Callable[[str, int], tuple[int, int]]
# Preparations and boots: their time counts, and a failed one does; they are no tests.
SET_UP = "set-up"


@dataclass(frozen=True)
class Result:
    """Outcome of one part of a tier."""

    tier: str
    name: str
    passed: int
    failed: int
    seconds: float
    output: str


Emit = Callable[[Result], None]


@dataclass(frozen=True)
class Job:
    """Work for one CPU. `parts` names the results that it emits, `needs` the commands that must succeed before.

    One that is `alone` asserts times of this machine: nothing runs beside it but `steady` jobs, which keep one CPU busy
    and take nothing of another. Beside one that takes the `whole_machine` nothing runs.
    """

    tier: str
    parts: tuple[str, ...]
    run: Callable[[Emit], None]
    needs: tuple[str, ...] = ()
    alone: bool = False
    steady: bool = False
    whole_machine: bool = False


def one_check(_output: str, status: int) -> tuple[int, int]:
    return (1, 0) if status == 0 else (0, 1)


def pytest_counts(output: str, status: int) -> tuple[int, int]:
    """Counts from pytest's closing line; a run that failed without a failed test counts as one."""
    counts = {
        word: int(n)
        for n, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", output[-400:])
    }
    failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    # A skipped test is a part that did not run: that is never fine here.
    failed += counts.get("skipped", 0)
    if status and not failed:
        failed = 1
    return counts.get("passed", 0), failed


def execute(
    tier: str,
    name: str,
    command: Sequence[str],
    count: Counter,
    env: Mapping[str, str] | None = None,
) -> Result:
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            stdin=subprocess.DEVNULL, check=False, env={**os.environ, **(env or {})},
        )  # fmt: skip
    except FileNotFoundError as err:
        missing = f"{err.filename} is missing: run packaging/bootstrap test"
        return Result(tier, name, 0, 1, 0.0, missing)
    passed, failed = count(done.stdout, done.returncode)
    return Result(tier, name, passed, failed, time.monotonic() - started, done.stdout)


def check(tier: str, name: str, command: Sequence[str]) -> Job:
    return Job(tier, (name,), lambda emit: emit(execute(tier, name, command, one_check)))


def pytest(
    tier: str,
    name: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    steady: bool = False,
) -> Job:
    """A folder for temporary files of its own: runs side by side would clean up each other's."""

    def run(emit: Emit) -> None:
        with tempfile.TemporaryDirectory(prefix="t-") as root:
            command = [PYTHON, "-m", "pytest", "-q", f"--basetemp={root}/b", *arguments]
            emit(execute(tier, name, command, pytest_counts, env))

    return Job(tier, (name,), run, steady=steady)


class _Queue:
    """The jobs that wait. One that is alone begins as soon as all that run are steady, or at the end.

    While it runs, the other CPUs have steady ones, or wait. A steady job that is listed before a usual one is begun in
    its turn; those that follow the last usual one fill up the end.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        late = [job for job in jobs if job.alone or job.whole_machine]
        self._alone = deque(late)
        rest = [job for job in jobs if job not in late]
        usual = max((n for n, job in enumerate(rest, 1) if not job.steady), default=0)
        self._usual, self._steady = deque(rest[:usual]), deque(rest[usual:])
        self._running: list[Job] = []
        self._changed = threading.Condition()

    def _next(self) -> Job | None:
        if any(job.whole_machine for job in self._running):
            return None
        if self._alone and self._may_begin(self._alone[0]):
            return self._alone.popleft()
        if self._usual and not any(job.alone for job in self._running):
            return self._usual.popleft()
        return self._steady.popleft() if self._steady else None

    def _may_begin(self, alone: Job) -> bool:
        """Return True if that job disturbs no job and no job disturbs it."""
        if alone.whole_machine or not self._running:
            return not (self._running or self._usual)
        return all(job.steady for job in self._running)

    def take(self) -> Job | None:
        """The next job, for which it may have to wait; None when there is none."""
        with self._changed:
            while (job := self._next()) is None and (self._usual or self._alone or self._steady):
                self._changed.wait()
            if job is not None:
                self._running.append(job)
            return job

    def ended(self, job: Job) -> None:
        with self._changed:
            self._running.remove(job)
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            for jobs in (self._usual, self._alone, self._steady):
                jobs.clear()
            self._changed.notify_all()


@dataclass
class _Prepared:
    """Commands that several jobs need: each runs once, and the jobs wait for it."""

    done: dict[str, Result] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    busy: dict[str, threading.Lock] = field(default_factory=dict)

    def run(self, command: str) -> Result:
        with self.lock:
            own = self.busy.setdefault(command, threading.Lock())
        with own:
            if command not in self.done:
                self.done[command] = execute(
                    SET_UP, f"prepare {command}", ["sh", "-c", command], one_check
                )
            return self.done[command]


class Runner:
    """Runs jobs on `workers` threads and yields results as they come."""

    def __init__(
        self, jobs: Sequence[Job], workers: int, expected: Mapping[str, float] | None = None
    ) -> None:
        self._prepared = _Prepared()
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        # Preparations first, the longest of them at once, so that no job waits for one that nobody has begun.
        needs = sorted(
            dict.fromkeys(need for job in jobs for need in job.needs),
            key=lambda need: -(expected or {}).get(f"prepare {need}", 0.0),
        )
        self._queue = _Queue([*map(self._preparation, needs), *jobs])
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        self.running: dict[str, float] = {}  # name of a part and when it began

    def stop(self, patience_s: float = 60.0) -> None:
        """Begin nothing more, and wait for what runs: Ctrl-C has reached it too, and it takes its files with it."""
        self._queue.clear()
        deadline = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def results(self, every_s: float) -> Iterator[Result | None]:
        """Each result; None about every `every_s` seconds, for the caller to say how far the run is."""
        for thread in self._threads:
            thread.start()
        next_beat = time.monotonic() + every_s
        while any(thread.is_alive() for thread in self._threads) or not self._results.empty():
            with suppress(queue.Empty):
                yield self._results.get(timeout=1)
            if time.monotonic() >= next_beat:
                next_beat += every_s
                yield None

    def _preparation(self, command: str) -> Job:
        return Job(SET_UP, (f"prepare {command}",), lambda emit: emit(self._prepared.run(command)))

    def _work(self) -> None:
        while (job := self._queue.take()) is not None:
            self._run(job)
            self._queue.ended(job)

    def _run(self, job: Job) -> None:
        missing = [n for n in job.needs if self._prepared.run(n).failed]
        left = list(job.parts)
        began = time.monotonic()
        if left:
            self.running[left[0]] = began

        def emit(result: Result) -> None:
            self.running.pop(result.name, None)
            if result.name in left:
                left.remove(result.name)
            if left:
                self.running[left[0]] = time.monotonic()
            self._results.put(result)

        try:
            if not missing:
                job.run(emit)
            why = f"it needs {'; '.join(missing)}, which failed" if missing else "it gave no result"
        except Exception as err:  # a broken runner must not look like a green one
            why = f"{type(err).__name__}: {err}"
        for name in tuple(left):
            emit(Result(job.tier, name, 0, 1, time.monotonic() - began, why))
