# SPDX-License-Identifier: GPL-2.0-or-later
"""The leak check and its verdict: clean, leak, or unjudged with a reason."""

from __future__ import annotations

import errno
import gc
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scx_gamer.leakcheck import cycle, kmemleak, memory, world
from scx_gamer.libbpf import BpfError, Object, find_object, kernel
from scx_gamer.system import child
from scx_gamer.system.closing import FdOwner
from scx_gamer.system.text import printable

CLEAN, LEAK, UNJUDGED = "clean", "leak", "unjudged"
_CODES = {CLEAN: 0, LEAK: 1, UNJUDGED: 2}
# Limits on the rise per cycle, in kB. Resident memory is this process's; the others are the whole machine's.
LIMITS_KB = {"resident": 4.0, "slab": 16.0, "KernelStack": 16.0, "Percpu": 16.0}
WARM_UP = 3  # cycles that fill caches, before the first snapshot
_RECORD_BYTES = 8192  # of one record of /dev/kmsg
_COMMAND_S = 60
_MAX_FRAMES = 8  # shown of a backtrace
KMSG = Path("/dev/kmsg")
_COMPLAINT = re.compile(
    r"WARNING: |BUG: |Oops|general protection fault|self-detected stall|soft lockup|hung_task"
)


@dataclass(frozen=True)
class Report:
    """The result of a check."""

    verdict: str
    findings: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # findings that are not ours

    @property
    def exit_code(self) -> int:
        return _CODES[self.verdict]

    def as_dict(self) -> dict[str, object]:
        """Return the report in the schema of `leakcheck --json`."""
        return {"schema": 1, **asdict(self)}


class Complaints(FdOwner):
    """New lines of the kernel log that report a fault. A context manager."""

    def __init__(self, path: Path = KMSG) -> None:
        with suppress(OSError):
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)

    def new(self) -> list[str]:
        """Return the lines since the last call; empty if the log is unreadable."""
        found: list[str] = []
        while self._fd is not None:
            try:
                line = os.read(self._fd, _RECORD_BYTES)
            except BlockingIOError:
                break
            except OSError as err:
                if err.errno == errno.EPIPE:  # overrun: go on with the oldest record that is left
                    continue
                break
            if not line:
                break
            text = line.decode("utf-8", "replace").partition(";")[2].split("\n")[0]
            if _COMPLAINT.search(text):
                found.append(printable(text))
        return found


def run(
    cycles: int,
    *,
    one: Callable[[int], None] = cycle.one,
    progress: Callable[[int], None] = lambda _number: None,
) -> Report:
    """Run `cycles` cycles after WARM_UP, and compare resources before and after, and memory in between.

    If memory rises, as many cycles are run again and the smaller rise counts, because only a leak persists.
    """
    try:
        own = world.Names.ours()
        for number in range(1, WARM_UP + 1):
            one(number)
        with Complaints() as complaints:
            before = world.now(own)
            figures = _rises(cycles, one, progress)
            if _too_steep(figures):
                again = _rises(cycles, one, progress)
                figures = {name: min(rise, again.get(name, rise)) for name, rise in figures.items()}
            left = world.left_over(before, own)
            found = [f"left behind: {resource}" for resource in left]
            found += [f"the kernel complained: {line}" for line in complaints.new()]
    except (cycle.CycleError, BpfError, OSError) as err:
        return Report(UNJUDGED, (str(err),))
    found += [
        f"{name} rises by {figures[name]:.1f} kB a cycle (limit {LIMITS_KB[name]:g})"
        for name in _too_steep(figures)
    ]
    return Report(LEAK if found else CLEAN, tuple(found), {"cycles": cycles, **figures})


def _rises(
    cycles: int, one: Callable[[int], None], progress: Callable[[int], None]
) -> dict[str, float]:
    samples: list[dict[str, float]] = []
    for number in range(cycles):
        one(WARM_UP + 1 + number)
        gc.collect()  # garbage that awaits a GC pass is not a leak
        samples.append(memory.sample())
        progress(number + 1)
    return slopes(samples)


def _too_steep(figures: dict[str, float]) -> list[str]:
    return [name for name, rise in figures.items() if rise >= LIMITS_KB.get(name, float("inf"))]


def slopes(samples: list[dict[str, float]]) -> dict[str, float]:
    """Return the rise per cycle in kB, of each figure that all samples have."""
    if not samples:
        return {}
    return {
        name: round(memory.slope([sample[name] for sample in samples]), 3)
        for name in samples[0]
        if all(name in sample for sample in samples)
    }


# ---- self-test ---------------------------------------------------------------------------------

SELFTEST = ("BPF link", "fd", "thread", "pin")


def selftest() -> Report:
    """Keep a link, an fd, a thread and a pin open on purpose, and check that each of them is found."""
    try:
        own = world.Names.ours()
        before = world.now(own)
        with _kept_open():
            kinds = {resource.kind for resource in world.left_over(before, own, quiet_s=0.5)}
        missed = [kind for kind in SELFTEST if kind not in kinds]
        rest = world.left_over(before, own)
    except (BpfError, OSError) as err:
        return Report(UNJUDGED, (str(err),))
    found = [f"not found: a {kind} kept open on purpose" for kind in missed]
    found += [f"left behind by the selftest itself: {resource}" for resource in rest]
    seen = {f"seen {kind}": 1.0 for kind in SELFTEST if kind in kinds}
    return Report(UNJUDGED if found else CLEAN, tuple(found), seen)


@contextmanager
def _kept_open() -> Iterator[None]:
    with ExitStack() as stack:
        obj = stack.enter_context(Object.loaded(find_object("observe"), {"on_exec"}))
        stack.enter_context(obj.programs["on_exec"].attach())
        fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, fd)
        end = threading.Event()
        thread = threading.Thread(target=end.wait, name="left behind")
        thread.start()
        stack.callback(thread.join, 5)
        stack.callback(end.set)
        path = world.BPFFS / f"scxg-selftest-{os.getpid()}"
        kernel.pin(obj.maps["control"].fd, path)
        stack.callback(path.unlink)
        yield


# ---- kernel memory -------------------------------------------------------------------------------


def run_kmemleak(
    cycles: int,
    module: Path | None,
    *,
    one: Callable[[int], None] = cycle.one,
    sleep: Callable[[float], None] = time.sleep,
    report: kmemleak.Kmemleak | None = None,
) -> Report:
    """Run a positive control, then cycles, and return kmemleak's report of them."""
    report = report or kmemleak.Kmemleak()
    try:
        state = report.state()
        if state != kmemleak.ON:
            return Report(UNJUDGED, (f"kmemleak is {state}: {_ADVICE[state]}",))
        control = kmemleak.control(report, _sample(module), sleep)
        one(1)
        report.clear()
        for number in range(cycles):
            one(2 + number)
        found = kmemleak.lasting(report, sleep)
    except (kmemleak.KmemleakError, cycle.CycleError, BpfError, OSError) as err:
        return Report(UNJUDGED, (str(err),))
    me = os.getpid()
    ours = [record for record in found if record.ours or record.pid == me]
    others = [record for record in found if record not in ours]
    figures: dict[str, float] = {"cycles": cycles, "control": control, "others": len(others)}
    leaks = _grouped(ours)
    return Report(LEAK if leaks else CLEAN, leaks, figures, _grouped(others))


def _grouped(records: list[kmemleak.Record]) -> tuple[str, ...]:
    return tuple(
        printable(
            f"{count} x {size} bytes from {' < '.join(frames[:_MAX_FRAMES]) or 'unknown'}", 400
        )
        for (size, frames), count in kmemleak.groups(records).items()
    )


_ADVICE = {
    kmemleak.ABSENT: "not in this kernel, or debugfs is not mounted (mount -t debugfs none /sys/kernel/debug)",
    kmemleak.OFF: "boot with kmemleak=on",
}


@contextmanager
def _sample(module: Path | None) -> Iterator[None]:
    """Load the kernel's sample module inside the block. Raises KmemleakError."""
    _command(
        "insmod" if module else "modprobe", str(module.absolute()) if module else "kmemleak-test"
    )
    try:
        yield
    finally:
        _command("rmmod", "kmemleak_test")


def _command(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_S, check=False,
            cwd="/", env=child.environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as err:
        raise kmemleak.KmemleakError(f"{command[0]}: {err}") from err
    if done.returncode:
        why = printable(done.stderr.strip() or f"status {done.returncode}")
        raise kmemleak.KmemleakError(
            f"cannot load the sample module kmemleak-test ({why}); give its file with --control"
        )
