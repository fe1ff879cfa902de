# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders of tests/vm as jobs: a batch of them in one guest, or on this machine where its kernel has sched_ext."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.suite.jobs import PYTHON, SET_UP, TREE, Emit, Job, Result, pytest_counts
from tests.suite.plan import Batch, Folder, batches, load
from tests.suite.progress import Times
from tests.vm.vmlib import kernels

_BOOT_S = 240.0
_POLL_S = 0.5


def part(kernel: str, folder: str) -> str:
    return f"vm {kernel} {folder}"


def boot_part(kernel: str, guest: str) -> str:
    return f"boot {kernel} {guest}"


def limit_s(expected_s: float) -> float:
    """Patience with one folder: several times what is expected, and longer than one test that hangs."""
    return max(600.0, 4 * expected_s)


def is_direct(kernel: str, batch: Batch) -> bool:
    """Whether the batch runs on this machine itself."""
    newest = kernels.table()["newest"]
    has_sched_ext = Path("/sys/kernel/sched_ext").is_dir() and os.geteuid() == 0
    return batch.guest.direct and has_sched_ext and kernel == newest


def jobs(kernel: str, folders: Sequence[Folder], times: Times) -> Iterator[Job]:
    expected = {f.name: times.of(part(kernel, f.name), f.seconds) for f in folders}
    for batch in batches(kernel, [load().on(kernel, f) for f in folders], expected):
        direct = is_direct(kernel, batch)
        run = _Run(batch, direct, expected)
        yield Job(
            tier=f"vm:{kernel}",
            parts=tuple(part(kernel, folder.name) for folder in batch.folders),
            run=run.follow,
            needs=() if direct else (_fetch(kernel), *batch.prepare),
            alone=batch.alone,
            steady=batch.guest.steady and not batch.alone,
            whole_machine=direct,
        )


def _fetch(kernel: str) -> str:
    """The kernel is fetched or built once, with all CPUs, before guests want it."""
    return f"{PYTHON} -m tests.vm.vmlib.kernels {kernel}"


@dataclass(frozen=True)
class _Run:
    """One batch under way."""

    batch: Batch
    direct: bool
    expected: dict[str, float]

    def follow(self, emit: Emit) -> None:
        """Emit the result of each folder when it is there; a folder without one has failed."""
        base = TREE / "build" / "vm"
        base.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="batch-", dir=base) as name:
            scratch = Path(name)
            with (scratch / "guest").open("wb") as out:
                process = subprocess.Popen(
                    self._command(scratch), cwd=TREE, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    env={**os.environ, "SCX_GAMER_SCRATCH": name},
                )  # fmt: skip
            try:
                in_tests = self._collect(process, scratch, emit)
            finally:
                _end(process)
        overhead = time.monotonic() - began - in_tests
        name = boot_part(self.batch.kernel, self.batch.guest.name)
        emit(Result(SET_UP, name, 1, 0, overhead, ""))

    def _command(self, scratch: Path) -> list[str]:
        guest, folders = self.batch.guest, self.batch.folders
        limits = {f.name: limit_s(self.expected[f.name]) for f in folders}
        words = [f"{f.name}:{limits[f.name]:.0f}:{'-s' if f.figures else ''}" for f in folders]
        inner = ["tests/vm/batch", guest.python, *words]
        if self.direct:
            return inner
        return [
            "tests/vm/run", "--kernel", self.batch.kernel, "--cpus", str(self.batch.cpus), "--scratch", str(scratch),
            "--timeout", f"{_BOOT_S + sum(limits.values()):.0f}", *guest.options, "--", *inner,
        ]  # fmt: skip

    def _collect(self, process: subprocess.Popen[bytes], scratch: Path, emit: Emit) -> float:
        """Seconds that the folders took."""
        in_tests, since = 0.0, time.monotonic()
        waiting = list(self.batch.folders)
        deadline = time.monotonic() + _BOOT_S + limit_s(self.expected[waiting[0].name])
        while waiting:
            ended = process.poll() is not None
            done = scratch / f"{waiting[0].name}.done"
            if done.exists():
                result = self._result(waiting.pop(0), done, time.monotonic() - since)
                in_tests, since = in_tests + result.seconds, time.monotonic()
                emit(result)
                if waiting:
                    deadline = time.monotonic() + 60 + limit_s(self.expected[waiting[0].name])
            elif ended:
                break
            elif time.monotonic() > deadline:
                _end(process)
            else:
                time.sleep(_POLL_S)
        said = (scratch / "guest").read_text(errors="replace")
        for folder in waiting:
            emit(self._missing(folder, scratch, said))
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        return in_tests

    def _result(self, folder: Folder, done: Path, elapsed_s: float) -> Result:
        """`elapsed_s` since the folder before, or the boot: virtual time does not say how long a folder takes here."""
        status, seconds = (int(word) for word in done.read_text().split())
        took_s = elapsed_s if self.batch.guest.steady and not self.direct else float(seconds)
        output = done.with_suffix(".out").read_text(errors="replace")
        if status == 124:
            output += f"\ntests/vm/{folder.name} took longer than {limit_s(self.expected[folder.name]):.0f} s\n"
        passed, failed = pytest_counts(output, status)
        name = part(self.batch.kernel, folder.name)
        return Result(f"vm:{self.batch.kernel}", name, passed, failed, took_s, output)

    def _missing(self, folder: Folder, scratch: Path, said: str) -> Result:
        begun = scratch / f"{folder.name}.out"
        output = begun.read_text(errors="replace") if begun.exists() else ""
        text = f"{output}\nno result: the guest ended before this folder did\n{said}"
        name = part(self.batch.kernel, folder.name)
        return Result(f"vm:{self.batch.kernel}", name, 0, 1, 0.0, text)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End tests/vm/run, which ends its guest."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
