# SPDX-License-Identifier: GPL-2.0-or-later
"""`cpuperf`: the speed that each CPU's run queue passes to schedutil, read from the kernel's own structure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest

from scx_gamer.libbpf import Object
from tests.processes import running
from tests.programs import built
from tests.vm.attach.conftest import Life, attach

pytestmark = pytest.mark.needs("/sys/devices/system/cpu/cpu3")
FULL = 1024  # SCX_CPUPERF_ONE
TENTH = """\
import time
while True:
    end = time.monotonic() + 0.004
    while time.monotonic() < end:
        pass
    time.sleep(0.036)
"""


@pytest.fixture
def targets() -> Iterator[Callable[[int], int]]:
    """Return the target of a CPU."""
    with Object.open(built(Path(__file__).with_name("speed.bpf.c"))) as obj:
        obj.load()
        read = obj.programs["read_targets"].runner()

        def target(cpu: int) -> int:
            read()
            value = obj.maps["targets"].lookup(cpu.to_bytes(4, sys.byteorder))
            assert value is not None
            return int.from_bytes(value, sys.byteorder)

        yield target


def test_full_speed_for_the_game_and_for_others_what_they_use(
    targets: Callable[[int], int],
) -> None:
    """CPU 0 runs the game, a tenth of the time; CPU 1 another program, a tenth of the time; CPU 2 one that spins."""
    with ExitStack() as stack:
        life = stack.enter_context(attach())
        # Not where it measures: its own turns have a speed, too.
        stack.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
        os.sched_setaffinity(0, {3})

        def bound(cpu: int, code: str) -> int:
            words = ["taskset", "-c", str(cpu), sys.executable, "-S", "-c", code]
            process = stack.enter_context(running(words))
            return process.pid

        life.mark(bound(0, TENTH), "GAME")
        bound(1, TENTH), bound(2, "while True: pass")
        life.sleep(0.5)
        assert [targets(cpu) for cpu in (0, 1, 2)] == [FULL] * 3, "nothing is requested"
        switch(life, 1)
        life.sleep(0.5)
        seen = _samples(life, targets, (0, 1, 2))
        print(f"targets: game {seen[0]}, light {seen[1]}, spinning {seen[2]}")
        # Other tasks run there too now and then, of real time among them, whose use does not count.
        assert median(seen[0]) == median(seen[2]) == FULL
        assert median(seen[1]) < FULL // 2
        switch(life, 0)
        life.sleep(0.5)
        assert [targets(cpu) for cpu in (0, 1, 2)] == [FULL] * 3


def switch(life: Life, value: int) -> None:
    life.tunables.set(f"value[{life.abi.constants['SCXG_TUN_CPUPERF']}]", value)


def _samples(
    life: Life, targets: Callable[[int], int], cpus: Sequence[int]
) -> list[tuple[int, ...]]:
    """Return ten looks at each CPU's target."""
    looks = []
    for _ in range(10):
        life.sleep(0.2)
        looks.append([targets(cpu) for cpu in cpus])
    return list(zip(*looks, strict=True))
