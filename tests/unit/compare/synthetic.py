# SPDX-License-Identifier: GPL-2.0-or-later
"""A game whose true effect of the scheduler is known: correlated frame times, scenes, loading screens, stutters.

A second here stands for five of a game's, so that a session of two hundred takes milliseconds.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from scx_gamer.compare.blocks import Plan
from scx_gamer.frames.model import Frame

SECOND = 1_000_000_000
PLAN = Plan(shortest_s=6, longest_s=18, settle_s=1, time_s=900)


def _noise(seed: int, count: int = 50_000) -> Iterator[float]:
    """Yield factors of neighbouring frame times: AR(1) of the logarithm, and stutters."""
    draw, walk = random.Random(seed), 0.0
    for _ in range(count):
        walk = 0.9 * walk + draw.gauss(0, 0.05)
        stutter = 1.3 + draw.expovariate(3) if draw.random() < 0.01 else 1.0
        yield math.exp(walk) * stutter


NOISE = tuple(_noise(5))


class SyntheticGame:
    """A Stage in virtual time. With the scheduler, each frame takes 1 / (1 + `effect`) of its time."""

    def __init__(self, seed: int, effect: float, *, loading: float = 0.2) -> None:
        self._random = random.Random(seed)
        self._effect, self._loading = effect, loading
        self._now_ns = self._frame_ns = self._last_ns = 5 * SECOND
        self._frames: list[Frame] = []
        self._at = self._random.randrange(len(NOISE))
        self._level_ns = 0.0
        self._heat = 1.0  # the machine gets slower over the session
        self._scene_ends_ns = 0
        self.with_ = True
        self.switches: list[bool] = []
        self.loading_screens = 0

    def now_ns(self) -> int:
        return self._now_ns

    def switch(self, with_: bool, pair: int) -> None:
        self.with_ = with_
        self.switches.append(with_)

    def read(self) -> list[Frame]:
        frames, self._frames = self._frames, []
        return frames

    def wait(self, seconds: float) -> None:
        self._now_ns += int(seconds * SECOND)
        while self._frame_ns < self._now_ns:
            if self._frame_ns >= self._scene_ends_ns:
                self._next_scene()
                continue  # after a loading screen, perhaps
            level_ns = self._level_ns / (1 + self._effect) if self.with_ else self._level_ns
            until_ns = min(self._now_ns, self._scene_ends_ns)
            count = int((until_ns - self._frame_ns) / level_ns) + 1
            if self._at + count > len(NOISE):
                self._at = 0
            times = [int(level_ns * factor) for factor in NOISE[self._at : self._at + count]]
            ends = list(accumulate(times, initial=self._frame_ns))[1:]
            del ends[bisect_right(ends, until_ns) + 1 :]
            times[0] += self._frame_ns - self._last_ns
            self._frames += map(Frame, ends, times)
            self._frame_ns = self._last_ns = ends[-1]
            self._at += len(ends)

    def _next_scene(self) -> None:
        draw = self._random
        self._heat *= 1.002
        self._level_ns = SECOND / 30 * self._heat * math.exp(draw.gauss(0, 0.12))
        self._at = draw.randrange(len(NOISE) // 2)
        self._scene_ends_ns = self._frame_ns + int((4 + draw.expovariate(1 / 26)) * SECOND)
        if draw.random() < self._loading:
            self.loading_screens += 1
            self._frame_ns += int(draw.uniform(1.5, 6) * SECOND)
