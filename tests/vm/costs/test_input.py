# SPDX-License-Identifier: GPL-2.0-or-later
"""The cost of reports where the kernel opens the windows: to the supervisor, and to each report."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from scx_gamer.scheduler.attached import program_costs
from tests.vm.costs.test_cost import counted
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


@pytest.mark.parametrize(("kind", "rate"), [("pad", 1000), ("mouse", 8000)])
def test_a_report_costs_its_driver_little(writer_binary: Path, kind: str, rate: int) -> None:
    """An idle pad that reports all of its controls, and a mouse: time in the hooks for each report."""
    devices.load_modules()
    with counted(), closing(Rig("kernel")) as rig:
        rig.start()
        with closing(Writer(writer_binary, rate, SECONDS, *["pad"] * (kind == "pad"))) as writing:

            def scenario() -> Scenario:
                yield from rig.wait_device(f"writer {kind}")
                before = program_costs(rig.observe)["on_input"]
                writing.begin()
                yield SECONDS + 0.5
                ns, runs = (
                    a - b
                    for a, b in zip(program_costs(rig.observe)["on_input"], before, strict=True)
                )
                reports = writing.rate() * SECONDS
                print(
                    f"MEASURED a report of a {kind}: {ns / reports:.0f} ns in {runs / reports:.1f} calls,"
                    f" {100 * ns / SECONDS / 1e9:.2f} % of a CPU at {reports / SECONDS:.0f} Hz",
                    flush=True,
                )
                assert runs >= reports
                assert rig.lane("GAMEPAD", "opened") == 0

            rig.play(scenario())
