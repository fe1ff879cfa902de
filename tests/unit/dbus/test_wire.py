# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes of strangers: cut into messages, dropped or refused, never more than a bounded amount of work."""

from __future__ import annotations

import gc
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.dbus import BUS_NAME, INTERFACE, OBJECT_PATH, BusError, old_name, wire
from scx_gamer.dbus.interface import interfaces, own

TREE = Path(__file__).parents[3]


def frame(member: str = "Stop", signature: str = "", body: list[object] | None = None) -> bytes:
    return wire.encode(wire.call(BUS_NAME, OBJECT_PATH, INTERFACE, member, signature, body), 7)


@given(st.lists(st.sampled_from(["", "x", "long " * 30]), max_size=5), st.randoms())
@settings(max_examples=50, deadline=None)
def test_frames_come_out_as_they_went_in(texts: list[str], rng: random.Random) -> None:
    made = [frame("Query", "s", [text]) for text in texts]
    stream, frames, found = b"".join(made), wire.Frames(), []
    while stream:
        cut = rng.randint(1, len(stream))
        frames.feed(stream[:cut])
        stream = stream[cut:]
        while (one := frames.next()) is not None:
            found.append(one)
    assert found == [(one, True) for one in made]


def test_long_body_is_dropped_and_the_next_message_found() -> None:
    long = frame("Query", "s", ["x" * wire.MAX_FRAME])
    frames = wire.Frames()
    head = None
    for at in range(0, len(long), 1000):
        frames.feed(long[at : at + 1000])
        head = head or frames.next()
    assert head is not None and head[1] is False
    assert wire.decode(wire.without_body(head[0])).member == "Query"
    assert frames.next() is None
    frames.feed(frame("Stop"))
    assert frames.next() == (frame("Stop"), True)


@pytest.mark.parametrize(
    "bad", [b"x" * 16, b"l\x01\0\x02" + bytes(12), b"l\x01\0\x01" + b"\xff" * 12]
)
def test_nonsense_ends_the_stream(bad: bytes) -> None:
    frames = wire.Frames()
    frames.feed(bad)
    with pytest.raises(BusError):
        frames.next()


@given(st.binary(max_size=300), st.integers(0, 120))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_message_or_an_error(data: bytes, keep: int) -> None:
    good = frame("SetProfile", "sb", ["gaming", True])
    for made in (data, good[:keep] + data, good[:keep] + data + good[keep + len(data) :]):
        try:
            wire.decode(made)
        except BusError:
            continue


def test_signatures_of_strangers_are_not_kept() -> None:
    for number in range(2000):
        signature = "i" * (number % 200) + "u" * (number // 200)
        body = [1] * len(signature)
        wire.decode(frame("Query", signature, list(body)))
    assert len(wire.library().SignatureTree._cache) <= 512


def test_dbus_next_comes_without_asyncio() -> None:
    program = "import sys; from scx_gamer.dbus import wire; wire.library(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True, text=True, check=True, cwd=TREE,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert "dbus_next.message" in loaded
    assert not {"asyncio", "gi", "dbus_next.service", "dbus_next.aio"} & loaded


def test_every_interface_and_no_other_is_in_the_bus_policy() -> None:
    tree = ET.parse(TREE / "packaging/dbus/io.github.scx_gamer.Supervisor1.conf")
    rules = tree.findall(".//policy[@context='default']/*")
    names = (BUS_NAME, old_name(BUS_NAME))
    # a rule for one name matches what is sent to its owner by the other one, and the last match decides
    refused = [(rule.tag, rule.get("send_destination")) for rule in rules[:2]]
    assert refused == [("deny", name) for name in names]
    allowed = [(rule.get("send_destination"), rule.get("send_interface")) for rule in rules[2:]]
    standard = {name for name in interfaces() if not name.startswith(names)}
    assert sorted(allowed) == sorted(
        (name, interface)
        for name in names
        for interface in interfaces()
        if interface.startswith(name) or interface in standard
    )
    assert {rule.tag for rule in rules[2:]} == {"allow"}
    for user in ("root", "scx-gamer"):
        own = tree.findall(f".//policy[@user='{user}']/allow")
        assert [rule.get("own") for rule in own] == list(names)


def test_an_enabled_unit_is_what_the_bus_starts() -> None:
    unit = (TREE / "packaging/systemd/scx-gamer.service").read_text()
    aliases = re.findall(r"^Alias=(.*)", unit, re.MULTILINE)[0].split()
    for name, alias in zip((BUS_NAME, old_name(BUS_NAME)), aliases, strict=True):
        text = (TREE / f"packaging/dbus/{name}.service").read_text()
        assert f"\nName={name}\n" in text and f"\nSystemdService={alias}\n" in text
        assert alias == f"dbus-{name}.service"
        assert f"/etc/systemd/system/{alias}" in (TREE / "packaging/debian/postrm").read_text()


def test_every_method_knows_who_may() -> None:
    from scx_gamer.control.operations import Access
    from scx_gamer.dbus.service import BusService

    actions = {
        access: (TREE / "packaging/polkit/io.github.scx_gamer.Supervisor1.policy")
        .read_text()
        .count(f'"{BUS_NAME}.{access.value}"')
        for access in (Access.MANAGE, Access.SET_PROFILE)
    }
    assert set(actions.values()) == {1}
    policy = ET.parse(TREE / f"packaging/polkit/{BUS_NAME}.policy")
    implied = {
        action.get("id"): action.findtext("annotate[@key='org.freedesktop.policykit.imply']")
        for action in policy.findall("action")
    }
    for access in actions:
        name = f"{BUS_NAME}.{access.value}"
        assert implied[name] is None and implied[old_name(name)] == name
    reading = {"ReleaseProfile", "ListProfiles", "ListGames", "Explain", "Query"}
    reading |= {"Session", "DeleteSession"}  # of the caller's own sessions
    blank = object.__new__(BusService)
    for name in own()[INTERFACE].methods:
        access, _ = blank._work(name)
        assert (access is Access.ALL) == (name in reading), name


def test_nothing_is_left_to_the_garbage_collector() -> None:
    """An event of input waits for a look of the collector, and took four times as long as without."""
    body = ["gaming", True]
    wire.decode(frame("SetProfile", "sb", body))  # what is made once
    gc.collect()
    gc.disable()
    try:
        made = frame("SetProfile", "sb", body)
        assert gc.collect() == 0
        wire.decode(made)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_message_is_encoded_as_it_would_encode_itself() -> None:
    lib = wire.library()
    call = wire.call(BUS_NAME, OBJECT_PATH, INTERFACE, "SetProfile", "sb", ["gaming", True])
    call.serial, call.sender = 9, ":1.7"
    answer = lib.Message.new_method_return(call, "a{sv}", [{"State": lib.Variant("s", "idle")}])
    refusal = lib.Message.new_error(call, "org.example.Error", "no")
    signal = lib.Message.new_signal(OBJECT_PATH, INTERFACE, "GameStopped", "us", [5, "game"])
    for serial, message in enumerate((call, answer, refusal, signal, wire.to_bus("Hello")), 1):
        made = wire.encode(message, serial)
        assert made == bytes(message._marshall())


@given(st.binary(max_size=60), st.integers(0, 160))
@settings(max_examples=300, deadline=None)
def test_the_sender_is_found_without_decoding(data: bytes, keep: int) -> None:
    """The same as the decoder finds, for whole messages; for others a text, and never an exception."""
    call = wire.call(BUS_NAME, OBJECT_PATH, INTERFACE, "SetProfile", "sb", ["gaming", True])
    call.serial, call.sender, call.destination = 0x01020304, ":1.7", "org.example.X"
    for made in (wire.call(BUS_NAME, OBJECT_PATH, INTERFACE, "Stop"), call):
        made.serial = made.serial or 1
        frame = bytes(made._marshall())
        assert wire.sender_of(frame) == (wire.decode(frame).sender or "")
        assert wire.serial_of(frame) == made.serial
        assert isinstance(wire.sender_of(frame[:keep] + data + frame[keep + len(data) :]), str)
    assert wire.sender_of(data) in ("", wire.sender_of(data))
