# SPDX-License-Identifier: GPL-2.0-or-later
"""scan_devices() over a written sysfs tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.input import Kind, Lane, devices, overrides_of, scan_devices
from scx_gamer.input.devices import NAME_LEN, sanitise
from scx_gamer.input.holders import holders


def add(root: Path, number: int, event: int | None, name: bytes, **bits: str) -> None:
    """Write one inputN as the kernel lays it out."""
    device = root / "class" / f"input{number}"
    (device / "capabilities").mkdir(parents=True)
    (device / "name").write_bytes(name + b"\n")
    (device / "properties").write_text(bits.pop("properties", "0") + "\n")
    for field in ("ev", "key", "rel", "abs", "ff"):
        (device / "capabilities" / field).write_text(bits.get(field, "0") + "\n")
    if event is not None:
        (device / f"event{event}").mkdir()
        (root / "dev").mkdir(exist_ok=True)
        (root / "dev" / f"event{event}").touch()


def test_scan(tmp_path: Path) -> None:
    add(tmp_path, 12, 3, b"Unknown Vendor Mouse", key="ffff0000 0 0 0 0", rel="1943")
    add(tmp_path, 2, 0, b"Power Button", key="10000000000000 0")
    add(tmp_path, 7, None, b"pad", key="7cdb000000000000 0 0 0 0", abs="3003f")
    (tmp_path / "class" / "event3").mkdir()
    (tmp_path / "class" / "mice").mkdir()
    (tmp_path / "class" / "inputx").mkdir()
    found = scan_devices(tmp_path / "class", tmp_path / "dev")
    assert [info.number for info in found] == [2, 7, 12]
    power, pad, mouse = found
    assert (power.kind, power.lane, power.readable) == (Kind.NONE, Lane.NONE, True)
    assert (pad.kind, pad.event, pad.readable) == (Kind.GAMEPAD, None, False)
    assert (mouse.kind, mouse.lane, mouse.name) == (
        Kind.MOUSE,
        Lane.MOUSE,
        "Unknown Vendor Mouse",
    )
    assert mouse.event == str(tmp_path / "dev" / "event3")
    assert mouse.rate_hz is None
    assert mouse.path is None


def node(
    root: Path, number: int, *, driver: str = "", descriptor: bytes = b"", ids: str = ""
) -> None:
    """Write the HID device above one inputN."""
    device = root / "class" / f"input{number}"
    if driver:
        (device / "device").mkdir()
        (device / "device" / "driver").symlink_to(f"../../bus/hid/drivers/{driver}")
        (device / "device" / "report_descriptor").write_bytes(descriptor)
    if ids:
        (device / "id").mkdir()
        vendor, _, product = ids.partition(":")
        (device / "id" / "vendor").write_text(vendor + "\n")
        (device / "id" / "product").write_text(product + "\n")


# Joystick with X, Y, Z of eight bits and nothing else; a consumer control after it. HID 1.11, appendix E.
PEDALS = bytes.fromhex("05010904a101093009310932150026ff00750895038102c0050c0901a101c0")


def test_pedals_that_look_like_a_sensor(tmp_path: Path) -> None:
    for number, driver in ((1, "hid-generic"), (2, "wiimote"), (3, "")):
        add(tmp_path, number, number, b"pedals", abs="7")
        node(tmp_path, number, driver=driver, descriptor=PEDALS)
    pedals, remote, sensor = scan_devices(tmp_path / "class", tmp_path / "dev")
    assert (pedals.kind, pedals.reason) == (Kind.JOYSTICK, "HID application")
    # A driver that makes nodes of its own: the descriptor does not tell which of them is the pad.
    assert (remote.kind, sensor.kind) == (Kind.NONE, Kind.NONE)
    assert sensor.reason == "capabilities"


@pytest.mark.parametrize(
    ("entry", "bits", "kind"),
    [
        ("ID_INPUT_JOYSTICK=1", {"abs": "7"}, Kind.JOYSTICK),
        ("ID_INPUT_JOYSTICK=", {"abs": "7"}, Kind.NONE),
        ("ID_INPUT_ACCELEROMETER=1", {"abs": "3003f", "key": "7fdb000000000000 0 0 0 0"}, Kind.NONE),
        ("ID_INPUT_TABLET_PAD=1", {"abs": "3", "key": "fff000000000000 0 0 0 0"}, Kind.NONE),
        ("ID_INPUT_JOYSTICK=1", {"key": "70000 0 0 0 0", "rel": "3"}, Kind.MOUSE),
    ],
)  # fmt: skip
def test_udev_tells_what_bits_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, bits: dict[str, str], kind: Kind
) -> None:
    add(tmp_path, 1, 5, b"device", **bits)
    (tmp_path / "class" / "input1" / "event5" / "dev").write_text("13:69\n")
    (tmp_path / "c13:69").write_text(f"I:123\nE:ID_INPUT=1\nE:{entry}\nG:uaccess\n")
    monkeypatch.setattr(devices, "UDEV_DATA", tmp_path)
    (found,) = scan_devices(tmp_path / "class", tmp_path / "dev")
    assert found.kind is kind


def test_an_override_is_the_lane_and_its_reason(tmp_path: Path) -> None:
    add(tmp_path, 1, 1, b"Some Mouse", key="70000 0 0 0 0", rel="3")
    node(tmp_path, 1, ids="FEFE:0001")
    add(tmp_path, 2, 2, b"Some Pad", key="7cdb000000000000 0 0 0 0", abs="3003f")
    add(tmp_path, 3, 3, b"Some Keys", key="10000000000000 0")
    lanes = overrides_of({"fefe:0001": "none", "Some Pad": "mouse", "Some Keys": "gamepad"})
    mouse, pad, keys = scan_devices(tmp_path / "class", tmp_path / "dev", lanes)
    assert (mouse.kind, mouse.lane, mouse.reason) == (Kind.MOUSE, Lane.NONE, "config: fefe:0001")
    assert not mouse.lanes.each()
    assert (pad.kind, pad.lane, pad.reason) == (Kind.GAMEPAD, Lane.MOUSE, "config: Some Pad")
    assert pad.lanes.each() == {Lane.MOUSE}
    assert (keys.lane, keys.lanes.each()) == (Lane.GAMEPAD, {Lane.GAMEPAD})


def test_holders_are_counted_without_an_open(tmp_path: Path) -> None:
    for pid, links in (
        ("10", ["/dev/input/event1", "/dev/null"]),
        ("11", ["/dev/input/event1"]),
        ("self", []),
    ):
        folder = tmp_path / pid / "fd"
        folder.mkdir(parents=True)
        for number, link in enumerate(links):
            (folder / str(number)).symlink_to(link)
    (tmp_path / "12").mkdir()  # it ended between the two looks
    nodes = {"/dev/input/event1", "/dev/input/event2"}
    assert holders(nodes, tmp_path) == {"/dev/input/event1": 2, "/dev/input/event2": 0}
    assert holders(nodes, tmp_path, but=10) == {"/dev/input/event1": 1, "/dev/input/event2": 0}
    assert holders(nodes, tmp_path / "absent") == dict.fromkeys(nodes, 0)


def test_vanished_attributes(tmp_path: Path) -> None:
    (tmp_path / "input4").mkdir()
    (found,) = scan_devices(tmp_path, tmp_path)
    assert (found.kind, found.name) == (Kind.NONE, "unnamed")


def test_garbage_attributes(tmp_path: Path) -> None:
    add(tmp_path, 1, 1, b"\xff\xfe\x1b[2J", key="not hex", rel="3")
    (found,) = scan_devices(tmp_path / "class", tmp_path / "dev")
    assert found.kind is Kind.NONE
    assert found.name.isprintable()


def test_no_sysfs(tmp_path: Path) -> None:
    assert scan_devices(tmp_path / "absent") == []


@given(st.text(max_size=300))
def test_names_are_one_printable_line(name: str) -> None:
    clean = sanitise(name)
    assert clean
    assert clean.isprintable()
    assert len(clean) <= NAME_LEN


def test_scan_is_light() -> None:
    code = (
        "import sys; from scx_gamer.input import scan_devices; scan_devices();"
        "print([m for m in ('evdev', 'pyudev', 'ctypes', 'scx_gamer.libbpf') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
