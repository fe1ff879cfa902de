# SPDX-License-Identifier: GPL-2.0-or-later
"""Page flips: the frames between them, the screen to follow, and a source that is not there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from scx_gamer.frames import flips
from scx_gamer.frames.flips import FlipSource, busiest, frames_between, refresh_rate
from scx_gamer.frames.model import LONGEST_NS, Frame, FrameError, FrameGame
from scx_gamer.frames.ring import TimeRing
from scx_gamer.libbpf import BpfError, Object, attaching

MS = 1_000_000


def test_frames_are_between_flips() -> None:
    assert frames_between([10 * MS, 26 * MS], 0) == [Frame(26 * MS, 16 * MS)]
    assert frames_between([26 * MS], 10 * MS) == [Frame(26 * MS, 16 * MS)]
    assert frames_between([5], 0) == frames_between([], 5) == []
    whole = frames_between([1, 1 + LONGEST_NS], 0)
    assert whole == [Frame(1 + LONGEST_NS, LONGEST_NS)]
    assert frames_between([1, 2 + LONGEST_NS], 0) == []  # the screen stood still
    assert frames_between([7, 7], 0) == []


def test_the_screen_that_changes_most_is_followed() -> None:
    assert busiest({}, None) is None
    assert busiest({3: 60, 1: 30}, None) == 3
    assert busiest({3: 60, 1: 30}, 1) == 1  # twice as many are not enough
    assert busiest({3: 61, 1: 30}, 1) == 3
    assert busiest({3: 1}, 1) == 3  # the followed one stands still
    assert busiest({}, 1) == 1


class View:
    """A ring of four times, and of the vblanks at them, in place of a mapped struct."""

    def __init__(self) -> None:
        self.nr, self.slots, self.vblanks = 0, [0] * 4, [0] * 4

    def get(self, name: str) -> int:
        assert name == "nr"
        return self.nr

    def array(self, name: str) -> tuple[int, ...]:
        return tuple({"at_ns": self.slots, "vblanks": self.vblanks}[name])

    def write(self, *times: int, vblank: int = 0) -> None:
        for at_ns in times:
            self.slots[self.nr % 4], self.vblanks[self.nr % 4] = at_ns, vblank
            self.nr += 1


def test_a_ring_that_went_round_says_so() -> None:
    view = View()
    ring = TimeRing(view, "at_ns", 4, seen=0)  # type: ignore[arg-type]
    assert ring.new() == ([], 0)
    view.write(1, 2, 3)
    assert ring.new() == ([1, 2, 3], 0)
    assert ring.new() == ([], 3)
    view.write(4, 5, 6, 7)
    assert ring.new() == ([5, 6, 7], 0)  # the slot of 4 may be written at this moment
    view.write(8, 9)
    assert ring.new() == ([8, 9], 7)


def test_vblanks_between_flips_tell_the_rate_of_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flips, "_RATE_FLIPS", 2)
    view = View()

    def rate() -> float:
        return refresh_rate(view, 4)  # type: ignore[arg-type]

    view.write(100 * MS, vblank=7)
    assert rate() == 0
    view.write(150 * MS, vblank=12)
    assert rate() == 100
    view.write(400 * MS, vblank=72)  # 65 in 300 ms
    assert round(rate(), 2) == 216.67
    view.write(450 * MS, vblank=78)  # 66 in 300 ms, of the last two
    view.write(500 * MS, vblank=82)  # in the slot of the first
    assert rate() == 100
    view.write(500 * MS, 510 * MS)  # a card that counts no vblanks
    assert rate() == 0


def test_without_a_screen_nothing_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card without connectors, as those that only compute, is no screen."""
    (tmp_path / "card0").mkdir()
    monkeypatch.setattr(flips, "_CARDS", tmp_path)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(flips, "attaching", lambda _: pytest.fail("an object is loaded"))
    source, game = FlipSource(), FrameGame(1, 0, frozenset({1}))
    for later_s, why in (
        (0, "better source"),
        (14.9, "better source"),
        (0.2, "card has a screen"),
        (0, "card has"),
    ):
        now[0] += later_s
        with pytest.raises(FrameError, match=why):
            source.open(game)
    with pytest.raises(FrameError, match="closed"):
        source.read()
    (tmp_path / "card0-DP-1").mkdir()
    now[0] += 19.9
    with pytest.raises(FrameError, match="no graphics card"):
        source.open(game)  # not looked for again so soon
    monkeypatch.setattr(flips, "attaching", attaching)
    monkeypatch.setattr(Object, "load", refuse)
    for later_s in (0.2, 1e6):  # the kernel stays the one it is
        now[0] += later_s
        with pytest.raises(FrameError, match="page flips are unavailable: no DRM"):
            source.open(game)
        monkeypatch.setattr(Object, "load", lambda *_: pytest.fail("loaded again"))
    source.close()


def refuse(*_: object) -> None:
    raise BpfError("no DRM")
