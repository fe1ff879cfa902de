# SPDX-License-Identifier: GPL-2.0-or-later
"""Regression 21: no key code leaves the kernel, nor the room."""

from __future__ import annotations

import logging
import time
from contextlib import closing

import pytest
from evdev import ecodes

from scx_gamer.libbpf import Object
from tests.vm.input import devices
from tests.vm.input.rig import Rig, Scenario

TIMES = ("time_ns", "start_ns")


def _traces(
    observe: Object, path: str, code: int
) -> tuple[list[dict[str, int | str]], dict[str, object]]:
    """Everything that user space can see after one press of `code`, without the times.

    A time may hold any bytes, so each is checked to lie within the run instead of searched.
    """
    rig = Rig(observe, path)
    began = time.monotonic_ns()
    try:
        rig.start()
        with closing(devices.keyboard("secret")) as keys:

            def scenario() -> Scenario:
                yield from rig.wait_device("secret")
                yield 0.5
                devices.key(keys, code, 1)
                yield from rig.wait(lambda: rig.open("KEYBOARD"))
                yield 0.4
                devices.key(keys, code, 0)
                yield from rig.wait(lambda: not rig.open("KEYBOARD"))

            rig.play(scenario())
            events = []
            for record in rig.records:
                event = rig.abi.unpack("scxg_event", record)
                assert len(record) == rig.abi.btf.struct("scxg_event").size
                for name in TIMES:
                    assert event[name] == 0 or began <= int(event[name]) <= time.monotonic_ns()
                events.append({k: v for k, v in event.items() if k not in TIMES})
            (number,) = (i.number for i in rig.room.devices() if i.name == "secret")
            slot = rig.maps["device_slots"].lookup(f"input{number}".encode().ljust(16, b"\0"))
            assert slot is not None
            raw = rig.maps["devices"].lookup(slot)
            assert raw is not None
            device = rig.abi.unpack("scxg_device", raw)
            assert int(device["last_ns"]) == 0 or began <= int(device["last_ns"])
            state: dict[str, object] = {k: v for k, v in device.items() if k != "last_ns"}
            for lane in range(rig.abi.constants["SCXG_NR_LANES"]):
                for field in ("opened", "events[0]"):
                    state[f"{lane}.{field}"] = rig.windows.get(f"lane[{lane}].{field}")
            state["counters"] = {rig.room.counters["errors"], rig.room.counters["added"]}
            return events, state
    finally:
        rig.close()


def test_no_key_code_in_any_record(
    observe: Object, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Two rare keys, far apart: nothing that comes out of the kernel tells them apart."""
    caplog.set_level(logging.DEBUG)
    first = _traces(observe, path, ecodes.KEY_F24)
    second = _traces(observe, path, ecodes.KEY_ZENKAKUHANKAKU)
    assert first == second
    events, _state = first
    assert events  # the press was seen at all
    for event in events:
        assert not {ecodes.KEY_F24, ecodes.KEY_ZENKAKUHANKAKU} & set(event.values())
    for record in caplog.records:
        assert "F24" not in record.getMessage()
        assert str(ecodes.KEY_F24) not in record.getMessage().split()
