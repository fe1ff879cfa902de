# SPDX-License-Identifier: GPL-2.0-only
"""scan_devices() over a written sysfs tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from scx_gamer.input import Kind, Lane, scan_devices
from scx_gamer.input.devices import NAME_LEN, sanitise


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
