# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that go in the middle, come again and again, flood, or lose events."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from evdev import ecodes

from scx_gamer.input import hotplug
from scx_gamer.libbpf import Object
from tests.vm.input import devices
from tests.vm.input.rig import Rig, Scenario, Writer, fds


def test_unplug_with_a_key_down(rig: Rig) -> None:
    def scenario() -> Scenario:
        numbers, open_fds = rig.numbers(), fds()
        keys = devices.keyboard()
        yield from rig.wait_device("keys")
        assert len(rig.numbers() - numbers) == 1
        devices.key(keys, ecodes.KEY_W, 1)
        yield from rig.wait(lambda: rig.open("KEYBOARD"))
        yield from rig.wait(lambda: bool(rig.room.held() and rig.lane("KEYBOARD", "held_until_ns")))
        keys.close()
        yield from rig.wait_device("keys", present=False)
        # Taken back by a word of ours: without it the lease runs out, but stays.
        yield from rig.wait(lambda: rig.lane("KEYBOARD", "held_until_ns") == 0)
        yield from rig.wait(lambda: not rig.open("KEYBOARD"))
        assert rig.room.held() == []
        assert rig.numbers() == numbers
        assert fds() == open_fds
        assert rig.control.get("msgs_invalid") == 0

    rig.play(scenario())


def test_unplug_amid_motion(rig: Rig, writer: Callable[[int, float], Writer]) -> None:
    def scenario() -> Scenario:
        for _ in range(3):
            mouse = writer(8000, 30)
            yield from rig.wait_device("writer mouse")
            mouse.begin()
            yield from rig.wait(lambda: rig.open("MOUSE"))
            yield 0.3
            mouse.close()
            yield from rig.wait_device("writer mouse", present=False)
            yield from rig.wait(lambda: not rig.open("MOUSE"))
        passes = rig.loop.stats().passes
        yield 1.0
        assert rig.loop.stats().passes - passes < 50  # no descriptor spins

    rig.play(scenario())


def test_plug_cycles_leave_everything_flat(rig: Rig) -> None:
    """Each cycle ends as it began, so that more of them would find no more."""

    def scenario() -> Scenario:
        numbers, open_fds, added = rig.numbers(), fds(), rig.room.counters["added"]
        known = rig.room.lanes()
        for _ in range(30):
            pad = devices.gamepad()
            yield from rig.wait(lambda: len(rig.numbers()) > len(numbers))
            pad.close()
            yield from rig.wait(lambda: rig.numbers() == numbers)
            assert rig.room.lanes() == known
        assert rig.room.counters["added"] - added == 30
        assert rig.room.counters["errors"] == 0
        assert fds() == open_fds

    rig.play(scenario())


def test_the_first_report_of_a_pad_that_was_plugged_in_again_counts(rig: Rig) -> None:
    """The kernel may give it the memory of the one that went."""

    def scenario() -> Scenario:
        for _ in range(5):
            with closing(devices.gamepad()) as pad:
                yield from rig.wait_device("pad")
                before = rig.lane("GAMEPAD", "opened")
                devices.stick(pad, 32767)
                yield from rig.wait(lambda: rig.lane("GAMEPAD", "opened") > before, 5)  # noqa: B023
            yield from rig.wait_device("pad", present=False)
            yield from rig.wait_closed("GAMEPAD")

    rig.play(scenario())


def test_hotplug_without_udevd(observe: Object, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own uevents serve where no udevd runs."""
    monkeypatch.setattr(hotplug, "UDEV_CONTROL", Path("/nonexistent"))
    rig = Rig(observe, path)
    try:
        rig.start()

        def scenario() -> Scenario:
            with closing(devices.keyboard()) as keys:
                yield from rig.wait_device("keys")
                devices.key(keys, ecodes.KEY_W, 1)
                yield from rig.wait(lambda: rig.open("KEYBOARD"))
            yield from rig.wait_device("keys", present=False)

        rig.play(scenario())
    finally:
        rig.close()


def test_flood(rig: Rig, writer: Callable[[int, float], Writer]) -> None:
    """A device that writes as fast as it can costs one bounded read a pass, and few passes."""

    def scenario() -> Scenario:
        mouse = writer(0, 600)  # until it is closed
        yield from rig.wait_device("writer mouse")
        mouse.begin()
        yield from rig.wait(lambda: rig.open("MOUSE"))
        with closing(devices.keyboard()) as keys:
            yield from rig.wait_device("keys")
            # The hook does not run for a key that comes amid a report of the mouse on its CPU, which is about
            # one in four of these: the room asks the device then.
            for _ in range(3):
                devices.key(keys, ecodes.KEY_W, 1)
                yield from rig.wait(lambda: rig.open("KEYBOARD"))
                devices.key(keys, ecodes.KEY_W, 0)
                yield from rig.wait(lambda: not rig.open("KEYBOARD"))
        passes, wakeups = rig.loop.stats().passes, rig.room.counters["wakeups"]
        began = time.monotonic()
        yield 2.0
        took = time.monotonic() - began
        assert (rig.loop.stats().passes - passes) / took < 300
        assert (rig.room.counters["wakeups"] - wakeups) / took < 150
        assert mouse.running()
        yield from rig.wait(lambda: rig.open("MOUSE"))
        mouse.close()
        yield from rig.wait(lambda: not rig.open("MOUSE"))

    rig.play(scenario())


@pytest.mark.parametrize("path", ["evdev"])
def test_lost_events_are_resynced(rig: Rig) -> None:
    """More events than the kernel's buffer holds while the loop sleeps: the state still holds."""
    with closing(devices.keyboard()) as keys:

        def scenario() -> Scenario:
            yield from rig.wait_device("keys")
            resyncs = rig.room.counters["resyncs"]
            for _ in range(400):
                devices.key(keys, ecodes.KEY_Q, 1)
                devices.key(keys, ecodes.KEY_Q, 0)
            devices.key(keys, ecodes.KEY_W, 1)
            yield from rig.wait(lambda: rig.room.counters["resyncs"] > resyncs)
            yield from rig.wait(lambda: len(rig.room.held()) == 1)
            devices.key(keys, ecodes.KEY_W, 0)
            yield from rig.wait(lambda: rig.room.held() == [])
            yield from rig.wait(lambda: not rig.open("KEYBOARD"))

        rig.play(scenario())
