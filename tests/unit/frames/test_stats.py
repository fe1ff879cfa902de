# SPDX-License-Identifier: GPL-2.0-or-later
"""Frame statistics: the histogram against exact arithmetic, its bounds, its form in a database."""

from __future__ import annotations

import random

import pytest

from scx_gamer.frames.model import Frame
from scx_gamer.frames.stats import BOUNDS_NS, FrameStats, low_fps

MS = 1_000_000
BUCKET = BOUNDS_NS[1] / BOUNDS_NS[0] - 1  # how far a bound may be off


def frames(times_ms: list[float]) -> list[Frame]:
    return [Frame(0, int(t * MS)) for t in times_ms]


def counted(times_ms: list[float]) -> FrameStats:
    stats = FrameStats()
    stats.add(frames(times_ms))
    return stats


def rough(seed: int, count: int = 20_000) -> list[float]:
    """60 fps with hitches of many lengths."""
    draw = random.Random(seed)
    return [
        draw.gauss(16.67, 0.4) + (draw.expovariate(1 / 25) if draw.random() < 0.02 else 0)
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_histogram_agrees_with_exact_arithmetic(seed: int) -> None:
    times = rough(seed)
    stats = counted(times)
    assert stats.mean_fps == pytest.approx(1000 * len(times) / sum(times), rel=1e-6)
    for share in (0.01, 0.001):
        assert stats.low_fps(share) == pytest.approx(low_fps(times, share), rel=0.01)
    exact = sorted(times)[int(0.99 * len(times)) - 1] * MS
    assert exact <= stats.quantile_ns(0.99) <= exact * (1 + BUCKET)
    assert stats.longest_ns == int(max(times) * MS)


def test_a_frame_is_missed_from_one_and_a_half_targets_on() -> None:
    stats = counted([16.7] * 97 + [24.0, 33.3, 50.0])
    assert stats.missed(int(16.667 * MS)) == 2
    assert stats.missed(int(8.333 * MS)) == 100


def test_the_slowest_hundredth_is_rounded_up() -> None:
    assert low_fps([10.0] * 100 + [20.0]) == pytest.approx(1000 / 15)
    assert low_fps([10.0] * 99 + [20.0]) == 50


def test_statistics_of_no_frames_are_zero() -> None:
    stats = FrameStats()
    assert (stats.count, stats.mean_fps, stats.low_fps(), stats.quantile_ns(0.99)) == (0, 0, 0, 0)
    assert stats.missed(16 * MS) == 0


def test_parts_of_a_session_add_up() -> None:
    times = rough(9, 3000)
    one, two = counted(times[:1000]), counted(times[1000:])
    one.merge(two)
    assert vars(one) == vars(counted(times))


def test_frames_outside_of_every_bound_count() -> None:
    stats = counted([0.0, 0.1, 9000.0])
    assert stats.count == 3
    assert stats.counts[0] == 2 and stats.counts[-1] == 1
