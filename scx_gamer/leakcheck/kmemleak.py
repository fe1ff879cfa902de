# SPDX-License-Identifier: GPL-2.0-or-later
"""kmemleak, the kernel's leak detector: its report in all formats, and a run with a positive control.

Before 6.8 a record has an age, and each frame an address. Later records have a checksum, and still later no addresses.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.system.errors import ScxGamerError

FILE = Path("/sys/kernel/debug/kmemleak")
ABSENT, OFF, ON = "absent", "off", "on"
SETTLE_S = 6.0  # younger objects are not reported: MSECS_MIN_AGE is 5 s (mm/kmemleak.c)
SCANS = 3
SCAN_GAP_S = 6.0
_MAX_REPORT = 32 << 20

_HEAD = re.compile(r"^unreferenced object(?: \((\w+)\))? 0x([0-9a-f]+) \(size (\d+)\):$")
_COMM = re.compile(r'^  comm "(.*)", pid (-?\d+), jiffies (\d+)(?: \(age ([\d.]+)s\))?$')
_TRACE = re.compile(r"^  backtrace(?: \(crc ([0-9a-f]+)\))?:$")
_FRAME = re.compile(r"^    (?:\[<[0-9a-fA-Fx]+>\] ?)?(\S.*)$")
_OFFSET = re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+")
# Functions whose allocations count as ours, besides those of this process.
OURS = re.compile(
    r"\b(?:_*bpf_|_*scx_|sched_ext|btf_|cgroup_bpf|__cgroup_bpf|ringbuf|user_ringbuf)"
)


class KmemleakError(ScxGamerError):
    """A run that proves nothing: what failed, and what to do."""


@dataclass(frozen=True)
class Record:
    """An unreferenced object. `kind` is empty, `phys` or `percpu`."""

    address: int
    size: int
    kind: str
    comm: str
    pid: int
    frames: tuple[str, ...]

    @property
    def group(self) -> tuple[int, tuple[str, ...]]:
        """The key of records with the same cause: size and backtrace."""
        return self.size, self.frames

    @property
    def ours(self) -> bool:
        """True if the object was allocated inside BPF or sched_ext."""
        return any(OURS.search(frame) for frame in self.frames)


def parse(text: str) -> list[Record]:
    """Parse a report. Unknown lines are skipped, and a record without a comm line is dropped."""
    found: list[Record] = []
    head: re.Match[str] | None = None
    comm, pid = "", 0
    frames: list[str] = []
    complete = in_trace = False

    def finish() -> None:
        if head is not None and complete:
            found.append(
                Record(int(head[2], 16), int(head[3]), head[1] or "", comm, pid, tuple(frames))
            )

    for line in text.split("\n"):
        if match := _HEAD.match(line):
            finish()
            head, comm, pid, frames, complete, in_trace = match, "", 0, [], False, False
        elif head is None:
            continue
        elif not complete and (match := _COMM.match(line)):
            comm, pid, complete = match[1], int(match[2]), True
        elif _TRACE.match(line):
            in_trace = True
        elif in_trace and (match := _FRAME.match(line)):
            frames.append(_OFFSET.sub("", match[1]).strip() or match[1])
    finish()
    return found


def groups(records: Iterable[Record]) -> Counter[tuple[int, tuple[str, ...]]]:
    """Return the number of records of each group."""
    return Counter(record.group for record in records)


class Kmemleak:
    """The kernel's kmemleak file. `off` is never written, because it cannot be undone."""

    def __init__(self, path: Path = FILE) -> None:
        self._path = path

    def state(self) -> str:
        """Return ABSENT (not built in, or debugfs not mounted), OFF or ON, by starting a scan. Raises KmemleakError."""
        if not self._path.exists():
            return ABSENT
        try:
            self._write("scan")
        except OSError as err:
            if err.errno in (errno.EPERM, errno.EBUSY):
                return OFF
            raise KmemleakError(f"{self._path}: {err.strerror}; run as root") from err
        return ON

    def clear(self) -> None:
        """Mark all present records as known."""
        self._write("clear")

    def scan(self) -> list[Record]:
        """Scan and read the report."""
        self._write("scan")
        with self._path.open("rb") as file:
            return parse(file.read(_MAX_REPORT).decode("utf-8", "replace"))

    def _write(self, word: str) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, word.encode())
        finally:
            os.close(fd)


def lasting(
    kmemleak: Kmemleak, sleep: Callable[[float], None] = time.sleep, since: Iterable[Record] = ()
) -> list[Record]:
    """Return the records that the last two scans share. One found once may have had its pointer in a register."""
    known = {record.address for record in since}
    sleep(SETTLE_S)
    previous: dict[int, Record] = {}
    found: list[Record] = []
    for number in range(SCANS):
        if number:
            sleep(SCAN_GAP_S)
        current = {r.address: r for r in kmemleak.scan() if r.address not in known}
        found = [r for address, r in current.items() if address in previous]
        previous = current
    return found


def control(
    kmemleak: Kmemleak,
    sample: AbstractContextManager[None],
    sleep: Callable[[float], None] = time.sleep,
    marker: str = "kmemleak_test",
) -> int:
    """Leak on purpose with the kernel's sample module, and return the number of its records.

    Raises KmemleakError if there are none, because then an empty report would prove nothing. The module stays loaded
    while the report is read: without it, its frames have no names.
    """
    kmemleak.clear()
    with sample:
        found = [
            record
            for record in lasting(kmemleak, sleep)
            if any(marker in frame for frame in record.frames)
        ]
    if not found:
        raise KmemleakError(
            "kmemleak did not find the leaks of its sample module, so a run would prove nothing; see dmesg"
        )
    return len(found)
