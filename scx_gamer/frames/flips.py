# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames as the screen shows them: page flips that a compositor asked for.

A flip belongs to a screen and not to a game. It is the game's as far as nothing else on the screen changes: with a game
that fills it, or that drives the screen itself. So flips tell of frames where nothing else does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import pairwise
from math import inf
from pathlib import Path

from scx_gamer.frames.model import LONGEST_NS, Frame, FrameError, FrameGame
from scx_gamer.frames.ring import TimeRing
from scx_gamer.libbpf import Abi, BpfError, Mapped, StructView, attaching
from scx_gamer.system.procfs import comm_of
from scx_gamer.system.text import printable

_CARDS = Path("/sys/class/drm")
_SILENT_S = 2.0  # without a flip the screen stands still, or is off
_PATIENCE_S = 15.0  # with a game that has just begun: the scheduler's look at wake-ups takes less
_AGAIN_S = 20.0  # after which another attempt is made; loading takes a tenth of a second
_RATE_FLIPS = 100  # that the rate of refreshes is of
_BUSIER = 2  # times as many flips make another screen the game's
_MAP = "flips"


class FlipSource:
    """The flips of the screen that changes most often."""

    name = "flips"
    cannot_tell = "which window changed, and frames that the compositor left out"

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._stack = ExitStack()
        self._screens: Mapped | None = None
        self._rings: dict[int, TimeRing] = {}  # by entry of the map
        self._slots = 0
        self._followed: int | None = None
        self._game = FrameGame(0, 0, frozenset())
        self._alive_s = 0.0
        self._refused: tuple[FrameError, float] | None = None  # and until when

    @property
    def tells(self) -> str:
        if self._screens is None or self._followed is None:
            return "each new picture of a screen"
        screen = self._screens[self._followed]
        rate = refresh_rate(screen, self._slots)
        asker = screen.get("tgid")
        program = printable(comm_of(asker)) or "a program that has ended"
        who = "the game itself" if asker in self._game.pids else program
        return f"each new picture of a screen{f' of {rate:.0f} Hz' if rate else ''}, which {who} asked for"

    def open(self, game: FrameGame) -> None:
        """Load the hooks. Raises FrameError where there is no screen, or none changed a moment ago."""
        if game.pid != self._game.pid:
            self._refuse("a better source may come", self._patience_s)
        self._game = game
        if self._refused is not None and time.monotonic() < self._refused[1]:
            raise self._refused[0]
        if not any(_CARDS.glob("card[0-9]*-*")):
            raise self._refuse("no graphics card has a screen")
        try:
            with attaching("flips") as (obj, self._stack):
                self._screens = self._stack.enter_context(obj.maps[_MAP].mapped("scxg_flips"))
                self._slots = Abi(obj.btf)["FLIP_SLOTS"]
        except BpfError as err:
            self._screens = None
            raise self._refuse(f"the hooks on page flips are unavailable: {err}", inf) from err
        self._followed = None
        self._rings.clear()
        self._alive_s = time.monotonic()

    def _refuse(self, why: str, for_s: float = _AGAIN_S) -> FrameError:
        error = FrameError(why)
        self._refused = error, time.monotonic() + for_s
        return error

    def read(self) -> list[Frame]:
        """Return the flips since the last call as frames. Raises FrameError if no screen has had one for a while."""
        if self._screens is None:
            raise FrameError("the hooks on page flips are closed")
        new = self._new(self._screens)
        if new:
            self._alive_s = time.monotonic()
        elif time.monotonic() - self._alive_s > _SILENT_S:
            raise self._refuse("no screen shows a new picture")
        self._followed = busiest(
            {screen: len(frames) for screen, frames in new.items()}, self._followed
        )
        return new.get(self._followed, []) if self._followed is not None else []

    def _new(self, screens: Mapped) -> dict[int, list[Frame]]:
        """Return the frames since the last call by entry of the map, for screens that had any flip."""
        found: dict[int, list[Frame]] = {}
        for number, screen in enumerate(screens):
            if not screen.get("screen"):
                continue
            ring = self._rings.get(number)
            if ring is None:
                ring = self._rings[number] = TimeRing(screen, "at_ns", self._slots, seen=0)
            times, before_ns = ring.new()
            if times:
                found[number] = frames_between(times, before_ns)
        return found

    def close(self) -> None:
        self._screens = None
        self._stack.close()


def refresh_rate(screen: StructView, slots: int) -> float:
    """Return the vblanks a second of a screen that had a flip, between its last ones; 0 if its card counts none."""
    newest = screen.get("nr") - 1
    oldest = max(0, newest - _RATE_FLIPS)
    (since, until), (first, last) = (
        (screen.array(field)[oldest % slots], screen.array(field)[newest % slots])
        for field in ("at_ns", "vblanks")
    )
    return (last - first) * 1e9 / (until - since) if first < last and since < until else 0.0


def busiest(flips: Mapping[int, int], followed: int | None) -> int | None:
    """Return the screen to follow: another than the followed one only if it has far more flips."""
    most = max(flips, key=lambda screen: flips[screen], default=followed)
    if followed is None or most is None:
        return most
    return most if flips.get(most, 0) > _BUSIER * flips.get(followed, 0) else followed


def frames_between(times_ns: list[int], before_ns: int) -> list[Frame]:
    """Return the frames that ended at `times_ns`, after one that ended at `before_ns`; 0: there is none."""
    known = [before_ns, *times_ns] if before_ns else times_ns
    return [Frame(b, b - a) for a, b in pairwise(known) if 0 < b - a <= LONGEST_NS]
