# SPDX-License-Identifier: GPL-2.0-or-later
"""The choice of the frame chain's thread, and of the sleeps that end a frame."""

from __future__ import annotations

import random

from scx_gamer.frames.sleeps import chain_of, choose, frames_of
from scx_gamer.games.threads import SteadyThread

MS = 1_000_000
GAME = {100, 101}


def thread(
    tid: int,
    period_ms: float,
    run_ms: float,
    *,
    tgid: int = 100,
    wakes: int = 1,
    submits: bool = False,
) -> SteadyThread:
    return SteadyThread(tid, tgid, 1, int(period_ms * MS), int(run_ms * MS), wakes, submits)


SOUND = thread(1, 5.33, 0.3)
INPUT = thread(2, 8, 0.02)
WORKER = thread(3, 16.7, 1.5)
RENDER = thread(4, 16.5, 1.2)
SUBMIT = thread(5, 16.9, 0.6, submits=True)


def test_the_chain_has_the_period_at_which_the_game_computes_most() -> None:
    found = chain_of([SOUND, INPUT, WORKER, RENDER, thread(9, 2, 1.9, tgid=7)], GAME)
    assert {t.tid for t in found} == {3, 4}
    assert chain_of([], GAME) == [] and choose([], GAME, 0.1) is None


def test_who_submits_is_followed_before_who_runs_longest() -> None:
    assert choose([SOUND, WORKER, RENDER], GAME, 0.4) == WORKER
    assert choose([SOUND, WORKER, RENDER, SUBMIT], GAME, 0.4) == SUBMIT
    assert choose([thread(9, 2, 1.9, tgid=7)], GAME, 0.4) is None


def test_a_thread_that_wakes_twice_a_frame_counts_but_is_not_followed() -> None:
    """The main thread of a game that computes for most of a frame, and waits for its workers in the middle."""
    main = thread(6, 16.6, 11, wakes=2)
    assert choose([SOUND, RENDER], GAME, 0.8) is None
    assert choose([SOUND, RENDER, main], GAME, 0.8) == RENDER
    assert choose([main], GAME, 0.8) is None


def test_sound_alone_is_no_frame() -> None:
    """Seen on a machine whose other threads were out of step: 135 frames a second of a game with 29."""
    assert choose([SOUND, INPUT], GAME, 0.5) is None
    assert choose([SOUND, INPUT], GAME, None) is None
    assert choose([SOUND, INPUT], GAME, 0.1) is None  # of a game that computes next to nothing
    assert choose([thread(7, 16.7, 0.5, submits=True)], GAME, 0.05) is not None
    assert choose([WORKER], GAME, None) is None  # as long as its share is not known
    assert choose([WORKER, RENDER], GAME, 0.5) is not None


def test_each_sleep_of_a_steady_thread_ends_a_frame() -> None:
    draw = random.Random(1)
    times, now = [], 0
    for number in range(600):
        now += int(16.67 * MS * (3 if number % 50 == 7 else 1))
        times.append(now + draw.randrange(MS))
    found = frames_of(times, 0)
    assert [f.end_ns for f in found] == times
    assert found[0].took_ns == 0 and sum(f.took_ns for f in found) == times[-1] - times[0]
    assert sum(f.took_ns > 25 * MS for f in found) == 12


def test_a_sleep_within_a_frame_ends_none() -> None:
    times = [
        t for n in range(1, 61) for t in (n * 16 * MS, n * 16 * MS + (2 * MS if n % 4 == 0 else 0))
    ]
    times = sorted(set(times))
    found = frames_of(times, 0)
    assert len(found) == 60
    assert {f.took_ns for f in found[1:]} == {16 * MS}


def test_reads_join_without_a_seam() -> None:
    times = [n * 16 * MS for n in range(1, 200)]
    found, end = [], 0
    for at in range(0, len(times), 7):
        part = frames_of(times[at : at + 7], end)
        end = part[-1].end_ns
        found += part
    assert found == frames_of(times, 0)
    assert frames_of([], 5) == []
