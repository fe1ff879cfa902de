# SPDX-License-Identifier: GPL-2.0-or-later
"""A window opens when the player acts, and never otherwise: on both paths."""

from __future__ import annotations

from contextlib import ExitStack, closing

import pytest
from evdev import InputDevice, UInput, ecodes

from scx_gamer.libbpf import Object
from tests.vm.input import devices
from tests.vm.input.at_rest import play_at_rest
from tests.vm.input.rig import Rig, Scenario, opened
from tests.vm.input.streams import send


def node_of(rig: Rig, name: str) -> str:
    (event,) = [info.event for info in rig.room.devices() if info.name == name]
    assert event is not None
    return event


def test_devices_on_a_table_open_no_window_and_an_act_opens_it_at_once(rig: Rig) -> None:
    """For a minute in tests/vm/idle."""
    play_at_rest(rig, 5)


def test_a_stick_that_goes_where_it_was_counts_again(rig: Rig) -> None:
    """Its way back falls into the pause after the act, on the evdev path."""
    with closing(devices.gamepad()) as pad:

        def scenario() -> Scenario:
            yield from rig.wait_device("pad")
            rig.set_boost("GAMEPAD", 400)  # and a pause of 100
            for _ in range(3):
                before = opened(rig)["GAMEPAD"]
                devices.stick(pad, 20000)
                yield from rig.wait(lambda: opened(rig)["GAMEPAD"] > before, 5)  # noqa: B023
                yield 0.03
                devices.stick(pad, 0)
                yield from rig.wait(lambda: not rig.open("GAMEPAD"), 15)

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
            yield from rig.stay_open("KEYBOARD", 1.5)
            assert opened(rig)["MOUSE"] == moved
            devices.key(desk, ecodes.KEY_W, 0)
            yield from rig.wait_closed("KEYBOARD")

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
            yield from rig.stay_open("GAMEPAD", 0.5)
            devices.key(two, ecodes.BTN_SOUTH, 0)
            yield from rig.wait_closed("GAMEPAD")
            yield from rig.wait(lambda: rig.lane("GAMEPAD", "holders") == 0)

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
            yield from rig.wait_closed("KEYBOARD")
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


def test_no_node_is_open_without_a_game(observe: Object, path: str) -> None:
    """And with one a controller only once it was used, where the kernel opens the windows."""
    with ExitStack() as stack:
        rig = Rig(observe, path)
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
            yield from rig.wait_closed("GAMEPAD")

        rig.play(scenario())


def test_an_axis_counts_at_once_after_a_change_of_its_lane(rig: Rig) -> None:
    with closing(devices.gamepad()) as pad:

        def scenario() -> Scenario:
            yield from rig.wait_device("pad")
            for lanes in ({}, {"pad": "none"}, {}):
                rig.room.set_lanes(lanes)
                before = opened(rig)["GAMEPAD"]
                for value in (20000, 0):
                    devices.stick(pad, value)
                    yield 0.5
                if not lanes:
                    yield from rig.wait(lambda: opened(rig)["GAMEPAD"] > before)  # noqa: B023
                yield from rig.wait_closed("GAMEPAD")
                assert (opened(rig)["GAMEPAD"] > before) == (lanes == {})
            devices.stick(pad, 20000)
            yield from rig.wait(lambda: rig.open("GAMEPAD"))

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
