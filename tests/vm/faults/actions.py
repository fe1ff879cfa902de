# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults as calls: each does its harm to a running supervisor and returns once all is well again, with the times.

Used one by one by the tests here, and mixed at random by tests/vm/soak.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.libbpf import BpfError
from tests.processes import running
from tests.vm.harness import (
    Supervised,
    directories,
    foreign_scheduler,
    kernel_state,
    launch,
    restored,
    wait_until,
)

OPTIONS = SupervisorOptions(mode="always", backoff_s=(0.5, 1.0, 2.0))
HOG = "while :; do :; done"


@dataclass
class Patient:
    """A supervisor that may be replaced by its successor in the same directories."""

    root: Path
    sup: Supervised
    times_ms: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def admit(cls, root: Path) -> Patient:
        sup = launch(OPTIONS, root)
        sup.wait_state("attached", 180)
        return cls(root, sup)

    def note(self, what: str, began: float) -> None:
        """Milliseconds since `began`, kept and printed."""
        took = 1000 * (time.monotonic() - began)
        self.times_ms.setdefault(what, []).append(took)
        print(f"MEASURED {what}: {took:.0f} ms", flush=True)
        keep(what, took)

    def successor(self) -> None:
        self.sup.process.wait(60)
        self.sup = launch(OPTIONS, self.root)
        self.sup.wait_state("attached", 180)

    def attached(self, generation: int) -> None:
        """Wait for a later generation to be attached."""

        def there() -> bool:
            status = self.sup.status()
            return status["state"] == "attached" and int(status["generation"]) > generation

        wait_until("a new generation", there, 60)

    def generation(self) -> int:
        return int(self.sup.status()["generation"])

    def discharge(self) -> None:
        if self.sup.process.poll() is None:
            self.sup.process.send_signal(signal.SIGCONT)
            self.sup.end()
        wait_until("disabled", lambda: kernel_state() == "disabled", 60)


@contextmanager
def admitted() -> Iterator[Patient]:
    """A patient; what it said is printed when the block fails."""
    with directories() as root:
        patient = Patient.admit(root)
        try:
            yield patient
        except BaseException:
            print(patient.sup.text())
            raise
        finally:
            patient.discharge()


class Ward:
    """One patient for a file of faults: a new one costs a start of Python, most of what a fault takes. Who is not well
    makes room for another."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._patient: Patient | None = None

    def well(self) -> Patient:
        """A patient that is attached and has no failure."""
        if self._patient is not None and not self._is_well(self._patient):
            self.close()
        if self._patient is None:
            self._patient = Patient.admit(self._root)
        return self._patient

    def survive(self, name: str) -> None:
        """One fault, after which the patient must be as well as before."""
        patient = self.well()
        said = len(patient.sup.text())
        try:
            FAULTS[name](patient)
            status = patient.sup.status()
            assert status["state"] == "attached" and status["failures"] == 0, status
            assert "Traceback" not in patient.sup.text()[said:]
        except BaseException:
            print(patient.sup.text())
            self.close()
            raise

    @staticmethod
    def _is_well(patient: Patient) -> bool:
        return patient.sup.process.poll() is None and patient.sup.state() == "attached"

    def close(self) -> None:
        patient, self._patient = self._patient, None
        if patient is not None:
            patient.discharge()


@contextmanager
def ward() -> Iterator[Ward]:
    """For a file of tests; nothing is left when its last one is over."""
    with directories() as root, closing(Ward(root)) as found:
        yield found


def keep(what: str, ms: float) -> None:
    """Into the scratch folder, which outlives the guest."""
    folder = os.environ.get("SCX_GAMER_SCRATCH")
    if folder:
        with Path(folder, "measured.jsonl").open("a") as file:
            file.write(json.dumps({"what": what, "ms": round(ms, 1)}) + "\n")


def kill(patient: Patient) -> None:
    began = time.monotonic()
    os.kill(patient.sup.pid, signal.SIGKILL)
    wait_until("disabled", lambda: kernel_state() == "disabled", 60)
    patient.note("kill -9 to the kernel's scheduler", began)
    patient.successor()


def terminate(patient: Patient) -> None:
    began = time.monotonic()
    assert patient.sup.end() == 0
    assert kernel_state() == "disabled"
    patient.note("SIGTERM to the end of the process", began)
    patient.successor()


def hang(patient: Patient) -> None:
    """The heartbeat stops; the kernel's side notices by itself."""
    before = patient.sup.status()["scheduler"]["effects_off"]
    os.kill(patient.sup.pid, signal.SIGSTOP)
    time.sleep(6)  # stale after 3 s
    os.kill(patient.sup.pid, signal.SIGCONT)
    began = time.monotonic()
    wait_until("effects on again", lambda: patient.sup.status()["scheduler"]["effects"] == 1, 60)
    patient.note("SIGCONT to effects on", began)
    assert patient.sup.status()["scheduler"]["effects_off"] > before


def restart(patient: Patient) -> None:
    generation, began = patient.generation(), time.monotonic()
    patient.sup.ask("restart")
    patient.attached(generation)
    patient.note("restart asked for to attached", began)


def stop_and_start(patient: Patient) -> None:
    patient.sup.ask("stop")
    assert kernel_state() == "disabled"
    began = time.monotonic()
    assert patient.sup.ask("start")["state"] == "attached"
    patient.note("start asked for to attached", began)


def hotplug(patient: Patient) -> None:
    """The gap is from before the CPU's state is written to the kernel's word that we are back."""
    with restored(Path("/sys/devices/system/cpu/cpu1/online")) as online:
        for value, what in (("0", "gone"), ("1", "back")):
            generation, times, began = patient.generation(), enabled_times(), time.monotonic()
            online.write_text(value)
            wait_enabled(times)
            patient.note(f"without the scheduler when a CPU is {what}", began)
            patient.attached(generation)


def wait_enabled(after: int) -> None:
    """Until a scheduler is enabled that was not when `enabled_times` was `after`."""
    wait_until("again", lambda: enabled_times() > after and kernel_state() == "enabled", 60)


def enabled_times() -> int:
    """Return how often a scheduler was enabled since the boot."""
    return int(Path("/sys/kernel/sched_ext/enable_seq").read_text())


def sysrq(patient: Patient) -> None:
    began = time.monotonic()
    Path("/proc/sysrq-trigger").write_text("S")
    wait_until("disabled", lambda: kernel_state() == "disabled", 60)
    patient.note("SysRq-S to the kernel's scheduler", began)
    patient.sup.wait_state("off", 60)
    assert patient.sup.ask("start")["state"] == "attached"


@contextmanager
def hogs(command: list[str], count: int) -> Iterator[None]:
    """Run a command that many times at once."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(running(command, stderr=subprocess.DEVNULL))
        yield


def starved(patient: Patient) -> None:
    """Four hogs a CPU: once they are all there, the supervisor beats in time, and answers."""

    def steady() -> bool:
        before = patient.sup.status()["scheduler"]["effects_off"]
        time.sleep(5)
        status = patient.sup.status()
        assert status["state"] == "attached"
        return bool(status["scheduler"]["effects_off"] == before)

    with hogs(["/bin/sh", "-c", HOG], 4 * (os.cpu_count() or 1)):
        wait_until("a supervisor that beats among four hogs a CPU", steady, 180)
        began = time.monotonic()
        patient.sup.status()
        patient.note("an answer among four hogs a CPU", began)


def fork_storm(patient: Patient) -> None:
    storm = "while :; do (:) & (:) & (:) & wait; done"
    with hogs(["/bin/sh", "-c", storm], 2):
        time.sleep(3)
        assert patient.sup.state() == "attached"


def real_time_hog(patient: Patient) -> None:
    """A task above every scheduler class of ours, on one CPU."""
    hog = ["chrt", "-f", "50", "/bin/sh", "-c", HOG]
    # Who ends it stands above it: there may be one CPU.
    with running(["chrt", "-f", "51", "timeout", "3", *hog]) as limited:
        time.sleep(2)
        limited.wait(60)
    wait_until("attached", lambda: patient.sup.state() == "attached", 60)


def pinned_hogs(patient: Patient) -> None:
    """More than one task that can run on one CPU alone."""
    pinned = ["taskset", "-c", "0", "/bin/sh", "-c", HOG]
    with hogs(pinned, 3):
        time.sleep(3)
        assert patient.sup.state() == "attached"


def pinned_kworkers(patient: Patient) -> None:
    """Work that the kernel queues on every CPU and waits for, beside two hogs on each."""
    with hogs(["/bin/sh", "-c", HOG], 2 * (os.cpu_count() or 1)):
        time.sleep(1)
        began, worst = time.monotonic(), 0.0
        while time.monotonic() < began + 3:
            asked = time.monotonic()
            Path("/proc/sys/vm/stat_refresh").write_text("1")
            worst = max(worst, time.monotonic() - asked)
        patient.note("the slowest round of kernel workers on all CPUs", time.monotonic() - worst)
        assert patient.sup.state() == "attached"


CHILDREN = """
import os, sys, time
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
time.sleep(600)
"""
THREADS = """
import threading, time
end = time.monotonic() + 600
while time.monotonic() < end:
    thread = threading.Thread(target=time.sleep, args=(0.001,))
    thread.start()
    thread.join()
"""


def game(patient: Patient, program: str, *arguments: str) -> None:
    """A game of this kind comes, is marked, lives a while, and is killed with all of its processes."""
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            time.sleep(0.5)
            patient.sup.ask("game_add", pid=process.pid)
            time.sleep(2)
            assert [one["pid"] for one in patient.sup.ask("games")] == [process.pid]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
        began = time.monotonic()
        wait_until("the game's end", lambda: patient.sup.ask("games") == [], 60)
        patient.note("death of a game to its end noticed", began)
    assert patient.sup.state() == "attached"


def game_with_children(patient: Patient) -> None:
    game(patient, CHILDREN, "300")


def game_with_short_threads(patient: Patient) -> None:
    game(patient, THREADS)


def other_scheduler(patient: Patient) -> None:
    """Somebody else wants in while we are: refused, and nothing of ours changes."""
    generation = patient.generation()
    with pytest.raises(BpfError, match="busy"), foreign_scheduler():
        pytest.fail("two schedulers at once")
    assert patient.generation() == generation and patient.sup.state() == "attached"


def clock_jump(patient: Patient) -> None:
    """The wall clock leaps an hour ahead and back; nothing of ours is measured by it."""
    for hours in (1, -1):
        time.clock_settime(time.CLOCK_REALTIME, time.time() + 3600 * hours)
        time.sleep(1.2)

        def as_before() -> bool:
            status = patient.sup.status()
            assert status["state"] == "attached"
            return bool(status["scheduler"]["effects"] == 1)

        wait_until("effects", as_before)


def full_disk(patient: Patient) -> None:
    """The state directory takes no more: told and counted, scheduling goes on, and the generation still rises."""
    state = patient.root / "state"
    filler = state / "filler"
    generation = patient.generation()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k,mode=755", "none", str(state)], check=True
    )
    try:
        with suppress(OSError):
            filler.write_bytes(b"x" * 65536)
        patient.sup.ask("restart")
        patient.attached(generation)
        assert patient.sup.status()["state_write_errors"] > 0
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)
    generation = patient.generation()
    patient.sup.ask("restart")
    patient.attached(generation)


FAULTS: dict[str, Callable[[Patient], None]] = {
    one.__name__: one
    for one in (
        kill,
        terminate,
        hang,
        restart,
        stop_and_start,
        hotplug,
        sysrq,
        starved,
        fork_storm,
        real_time_hog,
        pinned_hogs,
        pinned_kworkers,
        game_with_children,
        game_with_short_threads,
        other_scheduler,
        clock_jump,
        full_disk,
    )
}
# Those that keep every CPU busy take longest: tests/vm/pressure has them in a guest of its own.
PRESSURE = (
    "starved", "fork_storm", "real_time_hog", "pinned_hogs", "pinned_kworkers",
    "game_with_children", "game_with_short_threads",
)  # fmt: skip
ENDING = ("kill", "terminate")
NEEDS = {
    "hotplug": Path("/sys/devices/system/cpu/cpu1/online"),
    "sysrq": Path("/proc/sysrq-trigger"),
    "pinned_kworkers": Path("/proc/sys/vm/stat_refresh"),
}


def faults(names: Iterable[str]) -> list[object]:
    """Parameters of a test, each left out where the kernel has no part for it."""
    return [
        pytest.param(name, marks=pytest.mark.needs(str(NEEDS[name])) if name in NEEDS else ())
        for name in names
    ]


def possible() -> list[str]:
    """Faults that this kernel has the means for."""
    return [name for name in FAULTS if name not in NEEDS or NEEDS[name].exists()]


def mix(draw: random.Random) -> Iterator[str]:
    """Names without end: each round is all of them in another order. Those that end the process are in one round of
    five, so that some lives are long enough to show growth."""
    for number in count():
        names = [name for name in possible() if number % 5 == 0 or name not in ENDING]
        draw.shuffle(names)
        yield from names
