# SPDX-License-Identifier: GPL-2.0-or-later
"""The streams of idle devices played all at once, then an act on each."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing

from evdev import UInput

from tests.vm.input.rig import LANES, Rig, Scenario, opened
from tests.vm.input.streams import IDLE, Stream, send

REPORTS_HZ = 20  # of each device; more is too much for an emulated machine, and shows no more
# The longest window, a poll, and what an emulated machine is late. Where each device rests was noted before its act.
CLOSED_S = 0.25 + 0.25 + 1.5


def play_at_rest(rig: Rig, seconds: float) -> None:
    """No window opens for so long, and then each device's act opens its own with one report."""
    with ExitStack() as stack:
        made = [(stream, stack.enter_context(closing(stream.open()))) for stream in IDLE]

        def idle() -> Scenario:
            end, number = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                for stream, device in made:
                    send(device, stream.report(number))
                number += 1
                yield 1 / REPORTS_HZ
            assert number > 4 * seconds, "the machine was too slow to play the streams"

        def act(stream: Stream, device: UInput) -> Scenario:
            before = opened(rig)
            send(device, [stream.act])
            if rig.path == "kernel":  # with the report, not after it
                assert opened(rig)[stream.lane] == before[stream.lane] + 1, stream.name
            yield from rig.wait(lambda: opened(rig)[stream.lane] > before[stream.lane])
            yield 0.3  # the node of a controller is opened now, and first seen in use
            send(device, stream.report(0))
            yield 0.2  # evdev hears of the way back later, and of no act of the next device
            yield from rig.wait(lambda: not rig.open(stream.lane), CLOSED_S)
            others = {lane: count for lane, count in opened(rig).items() if lane != stream.lane}
            assert others == {lane: before[lane] for lane in others}, stream.name

        def scenario() -> Scenario:
            for stream in IDLE:
                yield from rig.wait_device(stream.name)
            wakeups = rig.room.counters["wakeups"]
            yield from idle()
            assert opened(rig) == dict.fromkeys(LANES, 0)
            for lane in LANES:
                assert rig.lane(lane, "events[0]") + rig.lane(lane, "events[1]") == 0
            if rig.path == "kernel":
                assert rig.room.counters["wakeups"] == wakeups
            for stream, device in made:
                yield from act(stream, device)
            assert rig.control.get("msgs_invalid") == 0

        rig.play(scenario())
