# SPDX-License-Identifier: GPL-2.0-or-later
"""The two objects as the supervisor joins them, without the supervisor."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from scx_gamer.libbpf import Abi, Mapped, Object, find_object
from scx_gamer.scheduler.attached import fit_ops
from tests.processes import running

SCHED_EXT = Path("/sys/kernel/sched_ext")


class Life:
    """One attached scheduler and the maps to look at it."""

    def __init__(
        self, stack: ExitStack, faulty: bool, llcs: int, rodata: dict[str, int | list[int]]
    ) -> None:
        observe = stack.enter_context(Object.open(find_object("observe")))
        for program in observe.programs.values():
            program.set_autoload(False)
        observe.load()
        cpus = os.sysconf("SC_NPROCESSORS_CONF")
        path = find_object("sched")
        self.observe = observe
        self.abi = Abi(observe.btf)
        self.sched = stack.enter_context(
            Object.open(path.with_name("sched_faulty.bpf.o") if faulty else path)
        )
        self.sched.set_rodata(
            generation=7,
            nr_cpus=cpus,
            nr_llcs=llcs,
            cpu_llc=[cpu % llcs for cpu in range(cpus)],
            **rodata,
        )
        fit_ops(self.sched, last="has_smt" in rodata or "nr_home" in rodata)
        self.sched.maps["cpu_stats"].set_max_entries(cpus)
        self.sched.load(observe.maps)

        def mapped(owner: Object, name: str) -> Mapped:
            return stack.enter_context(owner.maps[name].mapped(f"scxg_{name}"))

        self.control = mapped(observe, "control")[0]
        self.control.set("generation", 7)
        self.tunables = mapped(observe, "tunables")[0]
        constants = self.abi.constants
        for name, index in constants.items():
            if name.startswith("SCXG_TUN_"):
                self.tunables.set(f"value[{index}]", constants[name.replace("TUN", "DEF")])
        self.state = mapped(self.sched, "sched_state")[0]
        self.exit = mapped(self.sched, "exit_info")[0]
        self.stats = mapped(self.sched, "cpu_stats")
        self.beat()
        self.link = stack.enter_context(self.sched.maps["scx_gamer_ops"].attach_struct_ops())

    def beat(self) -> None:
        self.control.set("heartbeat_ns", time.monotonic_ns())

    def mark(self, pid: int, name: str) -> None:
        """Give a process a class, as the supervisor does."""
        entry = self.abi.pack("scxg_class_entry", class_id=self.abi[f"CLASS_{name}"])
        self.observe.maps["classes"].update(pid.to_bytes(4, sys.byteorder), entry)
        self.control.set("class_epoch", self.control.get("class_epoch") + 1)

    def total(self, field: str) -> int:
        return sum(cpu.get(field) for cpu in self.stats)

    def ended(self) -> bool:
        """Fails with the reason, which comes at the end of the kernel's way back to its own scheduler."""
        deadline = time.monotonic() + 60
        while not self.exit.get("kind") and time.monotonic() < deadline:
            time.sleep(0.1)
        raise AssertionError(f"ejected: {self.exit.text('reason')}: {self.exit.text('msg')}")

    def sleep(self, seconds: float) -> None:
        """With the heartbeat kept up, and while the scheduler holds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.beat()
            time.sleep(min(0.2, left))
            assert attached() or self.ended()

    def wait(self, what: Callable[[], bool]) -> None:
        """Sleep until something is so, as long as a machine that stands still now and then needs for it."""
        deadline = time.monotonic() + 60
        while not what():
            assert time.monotonic() < deadline, "not within 60 s"
            self.sleep(0.2)


def attached() -> bool:
    ops = SCHED_EXT / "root/ops"
    if (SCHED_EXT / "state").read_text().strip() != "enabled":
        return False
    return ops.exists() and ops.read_text().strip().startswith("scx_gamer")


def refills() -> int | None:
    """Slices the kernel had to invent; None on a kernel that does not count them."""
    events = SCHED_EXT / "root/events"
    if not events.exists():
        return None
    counts = dict(line.split() for line in events.read_text().splitlines() if line)
    return int(counts["SCX_EV_REFILL_SLICE_DFL"])


def events() -> str:
    path = SCHED_EXT / "root/events"
    return path.read_text() if path.exists() else ""


@contextmanager
def attach(faulty: bool = False, llcs: int = 1, **rodata: int | list[int]) -> Iterator[Life]:
    with ExitStack() as stack:
        yield Life(stack, faulty, llcs, rodata)


@pytest.fixture
def hogs() -> Iterator[Callable[[int], None]]:
    """Processes that spin until the test ends. Executed, not forked: a fork would keep the scheduler's link open."""
    with ExitStack() as stack:

        def start(count: int) -> None:
            for _ in range(count):
                stack.enter_context(running(["/bin/sh", "-c", "while :; do :; done"]))

        yield start


def gone(within_s: float = 20) -> bool:
    """Whether the scheduler is out; the kernel detaches in its own time."""
    deadline = time.monotonic() + within_s
    while attached() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not attached()
