# SPDX-License-Identifier: GPL-2.0-or-later
"""A mouse in motion keeps its window open, with few wake-ups: on both paths."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from scx_gamer.input import Kind
from tests.vm.input.conftest import modules, observe, path, rig, writer, writer_binary
from tests.vm.input.rig import Rig, Scenario, Writer, others_closed

__all__ = ["modules", "observe", "path", "rig", "writer", "writer_binary"]


@pytest.mark.parametrize("rate", [1000, 8000])
def test_mouse(
    rig: Rig, writer: Callable[[int, float], Writer], rate: int, capsys: pytest.CaptureFixture[str]
) -> None:
    mouse = writer(rate, 120)  # until it is closed

    def counted_hz() -> float:
        """Return the rate of the last two seconds or more."""
        return next((i.rate_hz or 0 for i in rig.room.devices() if i.name == "writer mouse"), 0)

    def scenario() -> Scenario:
        yield from rig.wait_device("writer mouse")
        info = next(info for info in rig.room.devices() if info.name == "writer mouse")
        assert info.kind is Kind.MOUSE
        assert info.path == rig.path
        assert not rig.open("MOUSE")
        mouse.begin()
        yield from rig.wait(lambda: rig.open("MOUSE"))
        opened, wakeups = rig.lane("MOUSE", "opened"), rig.room.counters["wakeups"]
        cpu, wall, passes = time.process_time(), time.monotonic(), rig.loop.stats().passes
        yield 3.5
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        passes = rig.loop.stats().passes - passes
        wakeups = rig.room.counters["wakeups"] - wakeups
        # The promise of half a percent of a CPU is held in tests/vm/costs: here each turn of an emulated CPU counts.
        with capsys.disabled():
            print(
                f"\n{rig.path} path: supervisor {100 * cpu / wall:.2f} % of a CPU, {passes} passes,"
                f" {wakeups} wake-ups in {wall:.1f} s,"
                f" opened {rig.lane('MOUSE', 'opened') - opened} times more"
            )
        yield from rig.wait(lambda: rig.open("MOUSE"))
        if rig.path == "kernel":
            assert passes < 5 * wall
            assert wakeups == 0
            yield from rig.wait(lambda: counted_hz() >= 0.8 * rate, every_s=0.5)
            assert rig.lane("MOUSE", "events[1]") == 0
        else:
            assert 0 < wakeups < 60 * wall  # two for each window, not one for each report
            assert rig.lane("MOUSE", "events[0]") == 0
        mouse.close()
        yield from rig.wait_closed("MOUSE")
        others_closed(rig, "MOUSE")

    rig.play(scenario())
