# SPDX-License-Identifier: GPL-2.0-only
"""What a mouse in motion costs the supervisor where the kernel opens the windows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.vm.input import devices
from tests.vm.input.conftest import writer, writer_binary
from tests.vm.input.rig import Rig, Scenario, Writer

__all__ = ["writer", "writer_binary"]

SECONDS = 5.0
MOST_PERCENT = 0.5


@pytest.mark.parametrize("rate", [1000, 8000])
def test_a_mouse_costs_the_supervisor_next_to_nothing(
    writer: Callable[[int, float], Writer], rate: int
) -> None:
    devices.load_modules()
    with closing(Rig("kernel")) as rig:
        rig.start()
        mouse = writer(rate, SECONDS + 2)

        def scenario() -> Scenario:
            yield from rig.wait_device("writer mouse")
            mouse.begin()
            yield from rig.wait(lambda: rig.open("MOUSE"))
            before = rig.lane("MOUSE", "events[0]")
            cpu, wall = time.process_time(), time.monotonic()
            yield SECONDS
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            seen = (rig.lane("MOUSE", "events[0]") - before) / wall
            percent = 100 * cpu / wall
            print(
                f"MEASURED a mouse at {seen:.0f} Hz: supervisor {percent:.3f} % of a CPU",
                flush=True,
            )
            assert seen > 0.8 * rate
            assert rig.open("MOUSE")
            assert percent < MOST_PERCENT

        rig.play(scenario())
