# SPDX-License-Identifier: GPL-2.0-or-later
"""Each lane's window opens, stays open while it should, and ends: on both paths."""

from __future__ import annotations

import time
from contextlib import closing

import pytest
from evdev import ecodes

from scx_gamer.libbpf import Object
from tests.vm.input import devices
from tests.vm.input.rig import Rig, Scenario, others_closed


def test_held_key(rig: Rig) -> None:
    with closing(devices.keyboard()) as keys:

        def scenario() -> Scenario:
            yield from rig.wait_device("keys")
            devices.key(keys, ecodes.KEY_W, 1)
            yield from rig.wait(lambda: rig.open("KEYBOARD"))
            late = yield from rig.stay_open("KEYBOARD", 2.5)
            # 0: a poll saw the key before its event.
            assert rig.lane("KEYBOARD", "opened") <= 1 + late
            assert len(rig.room.held()) == 1
            devices.key(keys, ecodes.KEY_W, 0)
            yield from rig.wait_closed("KEYBOARD")
            yield 0.3
            assert rig.room.held() == []
            others_closed(rig, "KEYBOARD")

        rig.play(scenario())


def test_held_stick(rig: Rig) -> None:
    with closing(devices.gamepad()) as pad:

        def scenario() -> Scenario:
            yield from rig.wait_device("pad")
            devices.stick(pad, 32767)
            yield from rig.wait(lambda: bool(rig.room.held()))
            yield from rig.stay_open("GAMEPAD", 2)
            # A button pressed and released beside the stick does not end what the stick holds.
            devices.key(pad, ecodes.BTN_SOUTH, 1)
            yield 0.02
            devices.key(pad, ecodes.BTN_SOUTH, 0)
            yield from rig.stay_open("GAMEPAD", 0.2)
            devices.stick(pad, 900)  # drift: within 10 % of the centre
            yield from rig.wait_closed("GAMEPAD")
            assert rig.room.held() == []
            devices.key(pad, ecodes.BTN_SOUTH, 1)
            yield from rig.wait(lambda: rig.open("GAMEPAD"))
            devices.key(pad, ecodes.BTN_SOUTH, 0)
            yield from rig.wait_closed("GAMEPAD")
            others_closed(rig, "GAMEPAD")

        rig.play(scenario())


def test_key_held_from_before(observe: Object, path: str) -> None:
    """A device with a key down when the supervisor starts."""
    with closing(devices.keyboard("early")) as keys:
        devices.key(keys, ecodes.KEY_W, 1)
        time.sleep(0.5)
        rig = Rig(observe, path)
        try:
            rig.start()

            def scenario() -> Scenario:
                yield from rig.wait(lambda: rig.open("KEYBOARD"))
                yield from rig.stay_open("KEYBOARD", 1.5)

            rig.play(scenario())
        finally:
            rig.close()


def test_windows_merge_by_maximum(rig: Rig) -> None:
    """A short window, of the same lane or of another, does not cut a long one."""
    with closing(devices.keyboard()) as keys, closing(devices.mouse()) as mouse:

        def scenario() -> Scenario:
            yield from rig.wait_device("keys")
            yield from rig.wait_device("mouse")
            rig.set_boost("KEYBOARD", 2000)
            devices.key(keys, ecodes.KEY_W, 1)
            devices.key(keys, ecodes.KEY_W, 0)
            yield from rig.wait(lambda: rig.lane("KEYBOARD", "opened") > 0)
            yield 0.3
            until = rig.lane("KEYBOARD", "until_ns")
            devices.move(mouse)
            yield from rig.wait(lambda: rig.lane("MOUSE", "opened") > 0)
            rig.set_boost("KEYBOARD", 10)
            before = sum(rig.lane("KEYBOARD", f"events[{path}]") for path in (0, 1))
            devices.key(keys, ecodes.KEY_W, 1)
            devices.key(keys, ecodes.KEY_W, 0)
            yield from rig.wait(
                lambda: sum(rig.lane("KEYBOARD", f"events[{path}]") for path in (0, 1)) > before
            )
            assert rig.lane("KEYBOARD", "until_ns") >= until

        rig.play(scenario())


@pytest.mark.parametrize("path", ["evdev"])
def test_key_amid_other_work(rig: Rig) -> None:
    """On the evdev path: the loop is busy with something long, and the window does not wait for its end."""
    with closing(devices.keyboard()) as keys:

        def busy() -> bool:
            devices.key(keys, ecodes.KEY_W, 1)
            end = time.monotonic() + 30
            while not rig.open("KEYBOARD") and time.monotonic() < end:
                pass
            return rig.open("KEYBOARD")

        def scenario() -> Scenario:
            yield from rig.wait_device("keys")
            assert rig.loop.run_interruptible(busy)
            events = rig.room.counters["events"]
            yield from rig.wait(lambda: rig.room.counters["events"] > events)
            yield from rig.wait(lambda: bool(rig.room.held()))
            devices.key(keys, ecodes.KEY_W, 0)
            yield from rig.wait(lambda: rig.room.held() == [])

        rig.play(scenario())
