# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames as the scheduler's side of the kernel sees them: the sleeps of one thread of the game's frame chain.

Always there, but an estimate. The threads of a frame chain wake in step, once a frame; threads of sound and timers do
as well, at periods of their own. Of the periods, that of the threads which compute most is the frame's, unless these do
little of what the game computes: then no frame is in step, and only sound is. One thread of them is followed, one that
hands work to the GPU if there is one: each of its sleeps ends its part of a frame.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from itertools import pairwise
from statistics import median
from typing import Protocol

from scx_gamer.frames.model import LONGEST_NS, Frame, FrameError, FrameGame
from scx_gamer.frames.ring import TimeRing
from scx_gamer.games.threads import SteadyThread
from scx_gamer.libbpf import Abi, BpfError, StructView, attaching
from scx_gamer.system.procfs import stat_of

_SAME = 0.1  # periods so close are one
_AGAIN_S = 60.0  # after which the thread is chosen again: another scene may have another chain
_SILENT_S = 2.0  # without a sleep the thread is not what it was
_SHARE = 0.25  # of what the game computes is done by the threads of its frames, at least
_LEAST = 0.1  # of a CPU as well, if none of them submits: sound takes half of it
_LOOK_EVERY_S = 20.0  # a look at wake-ups takes 4 s and costs 0.6 us for each of them
_MAP = "sleeps"


class Threads(Protocol):
    """The part of the thread roles that is used here."""

    def steady(self) -> list[SteadyThread]: ...
    def asked(self) -> bool: ...


class _Load:
    """CPUs that processes use, between two calls."""

    def __init__(self) -> None:
        self._ticks: dict[int, int] = {}
        self._at_s = 0.0

    def of(self, pids: Collection[int]) -> float | None:
        """Return the mean since the last call; None at the first one for these processes."""
        now_s, before_s, before = time.monotonic(), self._at_s, self._ticks
        self._at_s = now_s
        self._ticks = {pid: stat.cpu for pid in pids if (stat := stat_of(pid)) is not None}
        known = self._ticks.keys() & before.keys()
        if not known or now_s <= before_s:
            return None
        used = sum(self._ticks[pid] - before[pid] for pid in known)
        return used / os.sysconf("SC_CLK_TCK") / (now_s - before_s)


class SleepSource:
    """The sleeps of the thread that is most likely the frame chain's."""

    name = "scheduler"
    tells = "when a thread of the game's frame chain was done with its part of a frame"
    cannot_tell = "whether that thread is the right one, and what the game showed of it"

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._stack = ExitStack()
        self._sleeps: StructView | None = None
        self._ring: TimeRing | None = None
        self._slots = 0
        self._game = FrameGame(0, 0, frozenset())
        self._tid = 0
        self._end_ns = 0  # of the newest frame; 0: none yet
        self._alive_s = self._chosen_s = self._looked_s = 0.0
        self._load = _Load()

    def open(self, game: FrameGame) -> None:
        """Choose a thread, and load the hook. Raises FrameError."""
        self._game = game
        chosen = choose(self._threads.steady(), game.pids, self._load.of(game.pids))
        if chosen is None:
            if time.monotonic() - self._looked_s > _LOOK_EVERY_S:
                self._looked_s = time.monotonic()
                self._threads.asked()  # the next call may find one
            raise FrameError("no thread of the game wakes in step with its frames")
        try:
            with attaching("frames") as (obj, self._stack):
                mapped = self._stack.enter_context(obj.maps[_MAP].mapped("scxg_frame_sleeps"))
                self._slots = Abi(obj.btf)["FRAME_SLOTS"]
                self._sleeps = mapped[0]
                self._follow(chosen)
        except BpfError as err:
            self._sleeps = self._ring = None
            raise FrameError(f"the hook on switches is unavailable: {err}") from err

    def _follow(self, thread: SteadyThread) -> None:
        assert self._sleeps is not None
        self._sleeps.set("tid", 0)  # no sleep of the one counts as the other's
        self._sleeps.set("start_ns", thread.start_ns)
        self._sleeps.set("tid", thread.tid)
        self._ring = TimeRing(self._sleeps, "began_ns", self._slots, self._sleeps.get("nr"))
        self._tid = thread.tid
        self._alive_s = self._chosen_s = time.monotonic()

    def read(self) -> list[Frame]:
        """Return the frames that the sleeps since the last call ended. Raises FrameError if the thread is gone."""
        if self._ring is None:
            raise FrameError("the hook on switches is closed")
        now_s = time.monotonic()
        times, before_ns = self._ring.new()
        if not before_ns:
            self._end_ns = 0
        if times:
            self._alive_s = now_s
        elif now_s - self._alive_s > _SILENT_S:
            raise FrameError("the thread of the game's frames has stopped")
        frames = frames_of(times, self._end_ns)
        if frames:
            self._end_ns = frames[-1].end_ns
        if now_s - self._chosen_s > _AGAIN_S:
            self._choose_again(now_s)
        return [frame for frame in frames if 0 < frame.took_ns <= LONGEST_NS]

    def _choose_again(self, now_s: float) -> None:
        self._chosen_s = now_s
        steady, pids = self._threads.steady(), self._game.pids
        chosen = choose(steady, pids, self._load.of(pids))
        if chosen is not None and self._tid not in {t.tid for t in chain_of(steady, pids)}:
            self._follow(chosen)

    def close(self) -> None:
        self._sleeps = self._ring = None
        self._stack.close()


def chain_of(threads: Iterable[SteadyThread], pids: Collection[int]) -> list[SteadyThread]:
    """Return the threads with the period at which the processes `pids` compute most; none without any."""
    ours = [t for t in threads if t.tgid in pids]
    groups = [
        [t for t in ours if abs(t.period_ns - one.period_ns) <= _SAME * one.period_ns]
        for one in ours
    ]
    return max(groups, key=lambda group: sum(t.run_ns / t.period_ns for t in group), default=[])


def choose(
    threads: Iterable[SteadyThread], pids: Collection[int], load: float | None
) -> SteadyThread | None:
    """Return the thread to follow: of the frame chain, one that submits before all, else the one that runs longest.

    Threads that wake twice a frame cannot be followed. `load` is the CPUs that the game uses; while it is not known,
    there is none to follow.
    """
    chain = chain_of(threads, pids)
    used = sum(t.run_ns / t.period_ns for t in chain)
    least = 0.0 if any(t.submits for t in chain) else _LEAST
    if load is None or used < max(_SHARE * load, least):
        return None
    once = (t for t in chain if t.wakes == 1)
    return max(once, key=lambda t: (t.submits, t.run_ns), default=None)


def frames_of(times_ns: list[int], end_ns: int) -> list[Frame]:
    """Return the frames that sleeps at `times_ns` ended, after one that ended at `end_ns`; 0: there is none.

    Sleeps closer than half of the usual distance are of one frame.
    """
    apart = [b - a for a, b in pairwise([end_ns, *times_ns] if end_ns else times_ns)]
    least = median(apart) / 2 if apart else 0
    frames: list[Frame] = []
    for time_ns in times_ns:
        if not end_ns:
            frames.append(Frame(time_ns, 0))
        elif time_ns - end_ns >= least:
            frames.append(Frame(time_ns, time_ns - end_ns))
        else:
            continue
        end_ns = time_ns
    return frames
