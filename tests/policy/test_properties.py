# SPDX-License-Identifier: GPL-2.0-only
"""Bounds of the policy's arithmetic for any facts, any tunables and any time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.conftest import NR_TUNABLES, Policy

MS = 1_000_000
D, W, S = 100 * MS, 10 * MS, 20 * MS
NORMAL, GAME, CRITICAL, BACKGROUND, KTHREAD = range(5)

u64 = st.integers(0, 2**64 - 1)
span = st.one_of(st.integers(0, 200 * MS), u64)
tunables = st.tuples(*[st.one_of(st.integers(0, 200), u64)] * NR_TUNABLES)
classes = st.integers(0, 5)
flag = st.integers(0, 1)
# A monotonic clock: centuries of it, but never so late that now + D wraps.
times = st.integers(0, 2**63)
many = settings(max_examples=400, deadline=None)


@many
@given(tunables, span, span, st.integers(0, 1000), classes, flag, flag, times)
def test_key_stays_within_bound(
    policy: Policy,
    tun: tuple[int, ...],
    burst: int,
    avg: int,
    maturity: int,
    cls: int,
    game: int,
    window: int,
    now: int,
) -> None:
    a = policy(
        tun,
        burst=burst,
        burst_avg=avg,
        maturity=maturity,
        class_id=cls,
        game_active=game,
        window_open=window,
        now=now,
    )
    assert 0 <= a.rel <= D
    assert 0 <= a.credit <= W
    assert now - W <= a.key <= now + D
    assert 0 < a.slice <= S


@many
@given(span, span, st.integers(0, 1000), classes, flag, flag)
def test_a_longer_burst_is_never_earlier(
    policy: Policy, one: int, other: int, maturity: int, cls: int, game: int, window: int
) -> None:
    facts = {
        "maturity": max(maturity, 1),
        "class_id": cls,
        "game_active": game,
        "window_open": window,
        "now": 10**12,
    }
    short, long = policy(burst=min(one, other), **facts), policy(burst=max(one, other), **facts)
    assert short.key <= long.key


@many
@given(span, flag, flag)
def test_classes_keep_their_order(policy: Policy, burst: int, game: int, window: int) -> None:
    keys = [
        policy(
            burst=burst, maturity=9, class_id=c, game_active=game, window_open=window, now=10**12
        ).key
        for c in (CRITICAL, GAME, NORMAL, BACKGROUND)
    ]
    assert keys == sorted(keys)


@many
@given(st.lists(span, min_size=1, max_size=60))
def test_average_stays_between_its_bursts(policy: Policy, bursts: list[int]) -> None:
    avg = 0
    for count, burst in enumerate(bursts):
        avg = policy(burst=burst, burst_avg=avg, maturity=count).burst_avg
    capped = [min(burst, 10 * D) for burst in bursts]
    assert min(capped) - 3 * len(bursts) <= avg <= max(capped) + 3


@many
@given(u64)
def test_bucket_is_log2_of_microseconds(policy: Policy, wait: int) -> None:
    assert policy(wait=wait).bucket == (
        31 if wait // 1000 >= 2**32 else min((wait // 1000).bit_length(), 31)
    )


LIMITS = [
    (500, 20000),
    (500, 20000),
    (0, 70),
    (1, 29),
    (0, 2000),
    (0, 2000),
    (0, 2000),
    (100, 100000),
    (0, 1),
    (0, 1),
]


@many
@given(st.integers(0, 12), u64)
def test_tunables_are_clamped(policy: Policy, index: int, value: int) -> None:
    low, high = LIMITS[index] if index < len(LIMITS) else (0, 0)
    assert policy(index=index, value=value).clamped == min(max(value, low), high)


@many
@given(tunables, st.integers(0, 6))
def test_a_window_is_never_longer_than_two_seconds(
    policy: Policy, tun: tuple[int, ...], lane: int
) -> None:
    boost = policy(tun, index=lane).boost
    assert boost <= 2000 * MS
    assert lane in (1, 2, 3) or boost == 0


@many
@given(span, classes)
def test_victims_are_background_and_hogs(policy: Policy, ran: int, cls: int) -> None:
    assert policy(burst=ran, class_id=cls).victim == (
        cls == BACKGROUND or (cls == NORMAL and ran >= 4 * MS)
    )


@many
@given(u64, u64)
def test_another_cache_goes_first_only_when_it_leads(policy: Policy, far: int, near: int) -> None:
    empty = 2**64 - 1
    expected = far != empty and (near == empty or near - far > 4 * MS)
    assert policy(far=far, near=near).overdue == expected


def test_short_answering_game_thread_beats_the_games_older_workers(policy: Policy) -> None:
    facts = {"maturity": 9, "class_id": GAME, "game_active": 1, "window_open": 1}
    input_thread = policy(burst_avg=50_000, now=10**12 + 5 * MS, **facts)
    worker = policy(burst_avg=3 * MS, now=10**12, **facts)
    assert input_thread.key < worker.key
