# SPDX-License-Identifier: GPL-2.0-only
"""kmemleak: kernel memory that nothing refers to any more. Its report in both formats, and a run that can be believed.

Before 6.8 a record carries its age and each frame an address; later ones have a checksum, later still no addresses.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.system.errors import ScxGamerError

FILE = Path("/sys/kernel/debug/kmemleak")
ABSENT, OFF, ON = "absent", "off", "on"
SETTLE_S = 6.0  # a younger object is not reported
SCANS = 3
SCAN_GAP_S = 6.0
_MAX_REPORT = 32 << 20

_HEAD = re.compile(r"^unreferenced object(?: \((\w+)\))? 0x([0-9a-f]+) \(size (\d+)\):$")
_COMM = re.compile(r'^  comm "(.*)", pid (-?\d+), jiffies (\d+)(?: \(age ([\d.]+)s\))?$')
_TRACE = re.compile(r"^  backtrace(?: \(crc ([0-9a-f]+)\))?:$")
_FRAME = re.compile(r"^    (?:\[<[0-9a-fA-Fx]+>\] ?)?(\S.*)$")
_OFFSET = re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+")
# A record is ours when it was made under one of these, or by a process of ours.
OURS = re.compile(
    r"\b(?:_*bpf_|_*scx_|sched_ext|btf_|cgroup_bpf|__cgroup_bpf|ringbuf|user_ringbuf)"
)


class KmemleakError(ScxGamerError):
    """A run that proves nothing: what, and what to do."""


@dataclass(frozen=True)
class Record:
    """One object that nothing refers to. `kind` is empty, `phys` or `percpu`."""

    address: int
    size: int
    kind: str
    comm: str
    pid: int
    frames: tuple[str, ...]

    @property
    def group(self) -> tuple[int, tuple[str, ...]]:
        """Records of one cause: the same size allocated by the same path."""
        return self.size, self.frames

    @property
    def ours(self) -> bool:
        """Allocated inside BPF or sched_ext."""
        return any(OURS.search(frame) for frame in self.frames)


def parse(text: str) -> list[Record]:
    """Records of a report; lines that belong to none are passed over, a record without its comm line is dropped."""
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


def groups(records: Iterable[Record]) -> dict[tuple[int, tuple[str, ...]], int]:
    """How many records each cause has."""
    found: dict[tuple[int, tuple[str, ...]], int] = {}
    for record in records:
        found[record.group] = found.get(record.group, 0) + 1
    return found


class Kmemleak:
    """The kernel's file. Never writes `off`: that cannot be undone."""

    def __init__(self, path: Path = FILE) -> None:
        self._path = path

    def state(self) -> str:
        """ABSENT (not built in, or debugfs not mounted), OFF (built in, not running) or ON; asks for a scan to know."""
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
        """Forget what is reported now."""
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
    """Records found by each of the last two scans; one seen once may be a pointer that was in a register."""
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
    """Leak on purpose with the kernel's sample module; how many records that gave. Raises KmemleakError for none.

    Without this, an empty report could also mean that nothing was looked for. The module stays loaded while the report
    is read: once it is gone its frames have no names.
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
            "the sample module's leaks were not found: this run would prove nothing; see dmesg"
        )
    return len(found)
