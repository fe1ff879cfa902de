# SPDX-License-Identifier: GPL-2.0-or-later
"""A window opens when the player acts, and never otherwise: on both paths."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing

import pytest
from evdev import InputDevice, UInput, ecodes

from tests.vm.input import devices
from tests.vm.input.rig import Rig, Scenario
from tests.vm.input.streams import IDLE, Stream, send

LANES = ("KEYBOARD", "MOUSE", "GAMEPAD")
IDLE_S = 8.0
REPORTS_HZ = 20  # of each device; more is too much for an emulated machine, and shows no more
SLACK_S = 0.6


def opened(rig: Rig) -> dict[str, int]:
    return {lane: rig.lane(lane, "opened") for lane in LANES}


def node_of(rig: Rig, name: str) -> str:
    (event,) = [info.event for info in rig.room.devices() if info.name == name]
    assert event is not None
    return event


def test_devices_on_a_table_open_no_window_and_an_act_opens_it_at_once(rig: Rig) -> None:
    with ExitStack() as stack:
        made = [(stream, stack.enter_context(closing(stream.open()))) for stream in IDLE]

        def idle(seconds: float) -> Scenario:
            end, number = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                for stream, device in made:
                    send(device, stream.report(number))
                number += 1
                yield 1 / REPORTS_HZ

        def act(stream: Stream, device: UInput) -> Scenario:
            before = opened(rig)["GAMEPAD"]
            send(device, [(ecodes.EV_ABS, *stream.act)])
            if rig.path == "kernel":
                assert opened(rig)["GAMEPAD"] == before + 1, (
                    stream.name
                )  # with the report, not after it
            yield from rig.wait(lambda: opened(rig)["GAMEPAD"] > before, 2)
            send(device, stream.report(0))
            yield from rig.wait(
                lambda: not rig.open("GAMEPAD"), 15
            )  # a lever first seen in use rests after 10

        def scenario() -> Scenario:
            for stream in IDLE:
                yield from rig.wait_device(stream.name)
            wakeups = rig.room.counters["wakeups"]
            yield from idle(IDLE_S)
            assert opened(rig) == dict.fromkeys(LANES, 0)
            assert rig.lane("GAMEPAD", "events[0]") + rig.lane("GAMEPAD", "events[1]") == 0
            if rig.path == "kernel":
                assert rig.room.counters["wakeups"] == wakeups
            for stream, device in made:
                yield from act(stream, device)
            assert opened(rig)["KEYBOARD"] == opened(rig)["MOUSE"] == 0
            assert rig.control.get("msgs_invalid") == 0

        rig.play(scenario())


def test_each_source_of_one_node_opens_its_own_lane(rig: Rig) -> None:
    with closing(
        UInput(
            {
                ecodes.EV_KEY: [*range(1, 0x80), ecodes.BTN_LEFT],
                ecodes.EV_REL: [ecodes.REL_X, ecodes.REL_Y],
            },
            name="desk",
            vendor=devices.VENDOR,
        )
    ) as desk:

        def scenario() -> Scenario:
            yield from rig.wait_device("desk")
            devices.move(desk)
            yield from rig.wait(lambda: opened(rig)["MOUSE"] > 0)
            assert opened(rig)["KEYBOARD"] == 0
            yield from rig.wait(lambda: not rig.open("MOUSE"))
            moved = opened(rig)["MOUSE"]
            devices.key(desk, ecodes.KEY_W, 1)
            yield from rig.wait(lambda: rig.open("KEYBOARD"))
            for _ in range(30):
                yield 0.05
                assert rig.open("KEYBOARD")
            assert opened(rig)["MOUSE"] == moved
            devices.key(desk, ecodes.KEY_W, 0)
            yield from rig.wait(lambda: not rig.open("KEYBOARD"), 0.25 + SLACK_S)

        rig.play(scenario())


def test_a_release_on_one_pad_does_not_end_the_hold_of_another(rig: Rig) -> None:
    with closing(devices.gamepad("one")) as one, closing(devices.gamepad("two")) as two:

        def scenario() -> Scenario:
            yield from rig.wait_device("one")
            yield from rig.wait_device("two")
            rig.set_boost("GAMEPAD", 1)  # what is open from here on is held
            for pad in (one, two):
                devices.key(pad, ecodes.BTN_SOUTH, 1)
            yield from rig.wait(lambda: len(rig.room.held()) == 2)
            yield 0.05
            devices.key(one, ecodes.BTN_SOUTH, 0)
            for _ in range(100):
                assert rig.open("GAMEPAD")
                yield 0.005
            devices.key(two, ecodes.BTN_SOUTH, 0)
            yield from rig.wait(lambda: not rig.open("GAMEPAD"), SLACK_S)
            yield from rig.wait(lambda: rig.lane("GAMEPAD", "holders") == 0, 1)

        rig.play(scenario())


def test_a_key_without_a_name_that_is_down_for_good(rig: Rig) -> None:
    """KEY_UNKNOWN with the core's auto-repeat, as of an Elite 2 over Bluetooth: its press counts, nothing after."""
    with closing(
        UInput(
            {ecodes.EV_KEY: [*range(1, 0x80), ecodes.KEY_UNKNOWN], ecodes.EV_REP: []},
            name="stuck",
            vendor=devices.VENDOR,
        )
    ) as keys:

        def scenario() -> Scenario:
            yield from rig.wait_device("stuck")
            devices.key(keys, ecodes.KEY_UNKNOWN, 1)
            yield from rig.wait(lambda: opened(rig)["KEYBOARD"] > 0)
            yield from rig.wait(lambda: not rig.open("KEYBOARD"), 0.25 + SLACK_S)
            for _ in range(20):
                yield 0.05
                assert not rig.open("KEYBOARD")
            assert opened(rig)["KEYBOARD"] == 1

        rig.play(scenario())


@pytest.mark.parametrize("path", ["kernel"])
def test_what_a_program_writes_to_a_node_counts(rig: Rig) -> None:
    with closing(devices.keyboard()):

        def scenario() -> Scenario:
            yield from rig.wait_device("keys")
            with closing(InputDevice(node_of(rig, "keys"))) as node:
                node.write(ecodes.EV_KEY, ecodes.KEY_W, 1)
                node.write(ecodes.EV_SYN, ecodes.SYN_REPORT, 0)
                assert opened(rig)["KEYBOARD"] == 1
                node.write(ecodes.EV_KEY, ecodes.KEY_W, 0)
                node.write(ecodes.EV_SYN, ecodes.SYN_REPORT, 0)
                # Lights and force feedback go the same way, and are nobody's act.
                yield from rig.wait(lambda: not rig.open("KEYBOARD"))
                node.write(ecodes.EV_LED, ecodes.LED_CAPSL, 1)
                node.write(ecodes.EV_SYN, ecodes.SYN_REPORT, 0)
                assert opened(rig)["KEYBOARD"] == 1

        rig.play(scenario())


@pytest.mark.parametrize("path", ["kernel"])
def test_a_grab_is_told(rig: Rig) -> None:
    with closing(devices.mouse()) as mouse:

        def grabbed() -> bool:
            return any(info.name == "mouse" and bool(info.grabbed) for info in rig.room.devices())

        def scenario() -> Scenario:
            yield from rig.wait_device("mouse")
            devices.move(mouse)
            assert not grabbed()
            with closing(InputDevice(node_of(rig, "mouse"))) as node, node.grab_context():
                before = rig.lane("MOUSE", "events[0]")
                devices.move(mouse)
                assert grabbed()
                assert rig.lane("MOUSE", "events[0]") == before + 1
            devices.move(mouse)
            assert not grabbed()
            yield 0

        rig.play(scenario())


def test_no_node_is_open_without_a_game(path: str) -> None:
    """And with one a controller only once it was used, where the kernel opens the windows."""
    with ExitStack() as stack:
        rig = Rig(path)
        stack.callback(rig.close)
        keys = stack.enter_context(closing(devices.keyboard()))
        pad = stack.enter_context(closing(devices.gamepad()))
        mine = rig.nodes()
        rig.start(game=False)

        def scenario() -> Scenario:
            yield from rig.wait_device("keys")
            yield from rig.wait_device("pad")
            keys_node, pad_node = node_of(rig, "keys"), node_of(rig, "pad")
            yield 0.3
            passes = rig.loop.stats().passes
            for number in range(20):
                send(pad, [(ecodes.EV_ABS, 0, number % 5)])
                devices.key(keys, ecodes.KEY_W, (number + 1) % 2)  # up at the end
                yield 0.05
            assert rig.nodes() == mine
            assert (opened(rig)["KEYBOARD"] > 0) == (path == "kernel")
            assert rig.loop.stats().passes - passes <= 2 * 20 + 5  # the scenario's own
            rig.set_game(True)
            assert rig.nodes()[keys_node] == mine[keys_node] + 1
            assert rig.nodes()[pad_node] - mine[pad_node] == (path == "evdev")
            devices.key(pad, ecodes.BTN_SOUTH, 1)
            yield from rig.wait(lambda: rig.nodes()[pad_node] == mine[pad_node] + 1, 5)
            yield from rig.wait(lambda: len(rig.room.held()) == 1, 5)
            rig.set_game(False)
            assert rig.nodes() == mine
            assert rig.room.held() == []
            devices.key(pad, ecodes.BTN_SOUTH, 0)
            yield from rig.wait(lambda: not rig.open("GAMEPAD"), 1 + SLACK_S)

        rig.play(scenario())


def test_an_override_takes_effect_at_once_and_goes_again(rig: Rig) -> None:
    with closing(devices.mouse()) as mouse:

        def lanes() -> list[str]:
            return [str(info.lane) for info in rig.room.devices() if info.name == "mouse"]

        def scenario() -> Scenario:
            yield from rig.wait_device("mouse")
            rig.room.set_lanes({"mouse": "none"})
            assert lanes() == ["none"]
            for _ in range(5):
                devices.move(mouse)
                yield 0.05
            assert opened(rig)["MOUSE"] == 0
            rig.room.set_lanes({f"{devices.VENDOR:04x}:0001": "gamepad"})
            assert lanes() == ["gamepad"]
            devices.move(mouse)
            yield from rig.wait(lambda: opened(rig)["GAMEPAD"] > 0)
            rig.room.set_lanes({})
            devices.move(mouse)
            yield from rig.wait(lambda: opened(rig)["MOUSE"] > 0)

        rig.play(scenario())
