# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounds of the policy's arithmetic for any facts, any tunables and any time."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.conftest import NR_TUNABLES, Policy

MS = 1_000_000
D, W, S = 100 * MS, 10 * MS, 20 * MS
NORMAL, GAME, CRITICAL, BACKGROUND, KTHREAD = range(5)
LAST, OWN = 1, 2  # enum scxg_score

u64 = st.integers(0, 2**64 - 1)
span = st.one_of(st.integers(0, 200 * MS), u64)
tunables = st.tuples(*[st.one_of(st.integers(0, 200), u64)] * NR_TUNABLES)
classes = st.integers(0, 5)
flag = st.integers(0, 1)
# A monotonic clock: centuries of it, but never so late that now + D wraps.
times = st.integers(0, 2**63)
many = settings(max_examples=400, deadline=None)


@many
@given(tunables, span, span, span, st.integers(0, 1000), classes, flag, flag, flag, times)
def test_key_stays_within_bound(
    policy: Policy,
    tun: tuple[int, ...],
    debt: int,
    burst: int,
    avg: int,
    maturity: int,
    cls: int,
    game: int,
    window: int,
    urgent: int,
    now: int,
) -> None:
    a = policy(
        tun,
        urgent=urgent,
        debt=debt,
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
@given(span, span, span, st.integers(0, 1000), classes, flag, flag)
def test_a_longer_burst_or_more_debt_is_never_earlier(
    policy: Policy,
    one: int,
    other: int,
    fixed: int,
    maturity: int,
    cls: int,
    game: int,
    window: int,
) -> None:
    facts = {
        "maturity": maturity,
        "class_id": cls,
        "game_active": game,
        "window_open": window,
        "now": 10**12,
    }
    less, more = min(one, other), max(one, other)
    assert (
        policy(burst=less, debt=fixed, **facts).key <= policy(burst=more, debt=fixed, **facts).key
    )
    assert (
        policy(burst=fixed, debt=less, **facts).key <= policy(burst=fixed, debt=more, **facts).key
    )


@many
@given(tunables, span, span, flag, flag)
def test_classes_keep_their_order(
    policy: Policy, tun: tuple[int, ...], burst: int, debt: int, game: int, window: int
) -> None:
    facts = {"burst": burst, "debt": debt, "maturity": 9, "now": 10**12}
    keys = [
        policy(tun, class_id=c, game_active=game, window_open=window, **facts).key
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
@given(u64, u64, u64)
def test_debt_grows_by_running_and_shrinks_by_sleeping(
    policy: Policy, debt: int, ran: int, slept: int
) -> None:
    a = policy(debt=debt, burst=ran, slept=slept)
    assert a.ran == min(min(debt, 32 * MS) + ran, 32 * MS)
    assert a.paid == max(debt - 2 * min(slept, 32 * MS), 0)


def test_a_wake_up_rate_earns_nothing(policy: Policy) -> None:
    """Two tasks that run and sleep for the same time in all, one in a thousand times as many pieces."""
    debts = []
    for piece in (10_000_000, 10_000):
        debt = 0
        for _ in range(20_000_000 // piece):
            debt = policy(debt=debt, burst=piece).ran
            debt = policy(debt=debt, slept=piece // 4).paid
        debts.append(debt)
    assert abs(debts[0] - debts[1]) < 20_000


@many
@given(span, span, span, classes, classes, flag, flag, st.integers(0, 9), span)
def test_who_gives_way(
    policy: Policy, burst: int, debt: int, w_debt: int, cls: int, w_cls: int, short: int, window: int,
    maturity: int, avg: int,
) -> None:  # fmt: skip
    score = policy(
        burst=burst, debt=debt, w_debt=w_debt, class_id=cls, w_class_id=w_cls, is_short=short,
        window_open=window, maturity=maturity, burst_avg=avg,
    ).gives_way  # fmt: skip
    if cls in (CRITICAL, KTHREAD):
        assert score == 0, "never taken from what all wait for"
    if cls == GAME and score:
        assert w_cls in (GAME, CRITICAL, KTHREAD), "the game gives way to its own alone"
        assert not short
    if cls == GAME and score == LAST:
        assert w_cls != KTHREAD
        assert window
        assert maturity >= 4
        assert max(burst, avg) < MS // 2
    if w_cls in (GAME, CRITICAL, KTHREAD) and cls == GAME and not short:
        assert (score == OWN) == (debt >= 16 * MS and w_debt < 2 * MS)
    if w_cls in (GAME, CRITICAL) and cls in (BACKGROUND, NORMAL, 5):
        assert score > 0, "the game waits for nobody else"
    if w_cls == BACKGROUND:
        assert score == 0
    if w_cls == NORMAL:
        assert (score > 0) == (
            w_debt < 2 * MS and debt >= 16 * MS and cls in (NORMAL, BACKGROUND, 5)
        )


@many
@given(span, st.integers(0, 4 * MS), classes, classes, flag, flag, st.integers(0, 31 * MS))
def test_a_thread_in_step_takes_a_cpu_from_all_that_compute(
    policy: Policy, debt: int, burst: int, cls: int, w_cls: int, short: int, r_urgent: int, w_debt: int
) -> None:  # fmt: skip
    score = policy(
        urgent=1, r_urgent=r_urgent, debt=debt, burst=burst, class_id=cls, w_class_id=w_cls,
        is_short=short, w_debt=w_debt,
    ).gives_way  # fmt: skip
    kept = r_urgent and burst < 2 * MS
    taken = cls in (CRITICAL, KTHREAD) or kept or (cls == GAME and short)
    assert (score == 0) == bool(taken)


def in_step(policy: Policy, intervals: Sequence[int], beside: int = 0) -> list[bool]:
    """For each wake-up after an interval, whether the thread is in step by then."""
    now, woke, period, steady, found = 10**12, 0, 0, 0, []
    for interval in intervals:
        now += interval
        a = policy(woke=woke, period=period, steady=steady, now=now, beside=beside)
        woke, period, steady = a.beat_woke, a.beat_period, a.beat_steady
        found.append(bool(a.beats))
    return found


@settings(many, max_examples=100)
@given(st.integers(MS // 2, 48 * MS), st.integers(0, 2**32))
def test_a_clock_is_found_within_ten_wake_ups(policy: Policy, period: int, seed: int) -> None:
    """The first interval is that since the boot, the second the one to compare with."""
    jitter = random.Random(seed)
    steps = [period + jitter.randrange(period // 32 + 1) for _ in range(40)]
    found = in_step(policy, [0, *steps])
    assert not any(found[:9])
    assert all(found[10:])


def test_a_clock_is_found_while_every_fourth_period_is_lost(policy: Policy) -> None:
    found = in_step(policy, [5 * MS, 5 * MS, 10 * MS] * 30)
    assert all(found[-3:])


@pytest.mark.parametrize("beside", [0, 1])
def test_no_clock_is_found_in_chance(policy: Policy, beside: int) -> None:
    chance = random.Random(1)
    uniform = [chance.randrange(2 * MS, 8 * MS) for _ in range(4000)]
    assert sum(in_step(policy, uniform, beside)) < 40
    for mean in (MS // 5, MS, 4 * MS):
        arrivals = [int(chance.expovariate(1 / mean)) for _ in range(4000)]
        assert sum(in_step(policy, arrivals, beside)) < 40


def test_a_thread_beside_the_game_may_wait_for_those_that_it_woke(policy: Policy) -> None:
    """Twice or three times in a period; in the game, where workers do so, such a thread is in no step."""
    for answers in ([300_000], [300_000, 2 * MS]):
        period = [*answers, 10 * MS - sum(answers)]
        assert all(in_step(policy, [0, *period * 20], beside=1)[-10:])
        assert not any(in_step(policy, [0, *period * 20]))


@many
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_a_chain_behind_a_clock_ends(
    policy: Policy, maturity: int, waker: int, steady: int
) -> None:
    link = policy(maturity=maturity, waker_link=waker, steady=steady).link
    if steady >= 8:
        assert link == 1
    else:
        assert link == (waker + 1 if 0 < waker < 8 and maturity >= 4 else 0)


def test_two_threads_that_wake_each_other_are_urgent_for_eight_turns_of_a_clock(
    policy: Policy,
) -> None:
    link, urgent = 1, 0
    for _ in range(100):
        link = policy(maturity=99, waker_link=link).link
        urgent += link > 0
    assert urgent == 7


@pytest.mark.parametrize("period", [MS // 4, 80 * MS])
def test_intervals_that_no_clock_of_sound_or_video_has_are_none(
    policy: Policy, period: int
) -> None:
    assert not any(in_step(policy, [period] * 100))


@settings(many, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 60 * MS), st.integers(0, 30 * MS)), max_size=60), flag)
def test_a_thread_is_urgent_for_an_eighth_of_a_core_at_most(
    policy: Policy, bursts: list[tuple[int, int]], smt: int
) -> None:
    """A burst is charged in full, and no mean of earlier ones makes it cheaper."""
    begin = now = 10**12
    paid = average = urgent = 0
    for count, (slept, ran) in enumerate(bursts):
        now += slept
        facts = {"class_id": NORMAL, "game_active": 1, "burst_avg": average, "maturity": count}
        if policy(paid=paid, now=now, smt=smt, **facts).may_be_urgent:
            assert urgent >> smt <= (now - begin) // 8 + 2 * MS + count  # each half is rounded
            urgent += ran
        now += ran
        paid = policy(paid=paid, burst=ran, now=now, smt=smt).paid_until
        average = policy(burst=ran, burst_avg=average, maturity=count).burst_avg


@many
@given(u64, times, u64)
def test_what_is_owed_is_bounded(policy: Policy, ran: int, now: int, paid: int) -> None:
    until = policy(paid=paid, burst=ran, now=now).paid_until
    assert now <= until <= now + 256 * MS


@many
@given(span, span, st.integers(0, 20), classes, flag, span, flag)
def test_who_may_be_urgent(
    policy: Policy, burst: int, avg: int, maturity: int, cls: int, game: int, paid: int, smt: int
) -> None:
    a = policy(
        burst=burst, burst_avg=avg, maturity=maturity, class_id=cls, game_active=game, paid=paid, smt=smt,
    )  # fmt: skip
    burst, avg = burst >> smt, avg >> smt
    if a.may_be_urgent:
        assert paid + 8 * avg <= 16 * MS
        assert cls in (NORMAL, GAME, CRITICAL)
        if cls == NORMAL:
            assert game, "nothing changes without a game"
        else:
            assert maturity >= 4
            assert max(burst, avg) < MS // 2
    assert a.may_all_be_urgent == (paid <= 8 * MS)


@pytest.mark.parametrize("cls", [NORMAL, GAME, CRITICAL])
def test_sound_stays_urgent_beside_a_busy_sibling(policy: Policy, cls: int) -> None:
    """300 us of work each 5333 take 700 on half of a slow core: more than an eighth of the CPU, less of the core."""
    now, paid = 10**12, [0, 0]
    urgent = [0, 0]
    for _ in range(200):
        now += 5_333_000
        for smt in (0, 1):
            facts = {"class_id": cls, "game_active": 1, "maturity": 9, "burst_avg": 700_000}
            urgent[smt] += policy(paid=paid[smt], now=now, smt=smt, **facts).may_be_urgent
            paid[smt] = policy(paid=paid[smt], burst=700_000, now=now, smt=smt).paid_until
    assert urgent[0] < urgent[1] == 200


def test_sound_beside_the_game_goes_before_the_games_older_workers(policy: Policy) -> None:
    sound = policy(urgent=1, game_active=1, maturity=9, burst_avg=300_000, now=10**12 + 9 * MS)
    worker = policy(class_id=GAME, game_active=1, maturity=9, burst_avg=3 * MS, now=10**12)
    assert sound.key < worker.key


# About a kick's gap: of all spans, next to none is.
near = st.integers(0, 2 * MS)


@many
@given(span, flag)
def test_the_game_takes_a_cpu_from_programs_before_kernel_code(
    policy: Policy, debt: int, short: int
) -> None:
    def score(**what: int) -> int:
        return policy(w_class_id=GAME, class_id=NORMAL, debt=debt, **what).gives_way

    assert 0 < score(is_kthread=1, is_short=short) <= score(is_short=1) < score()


@settings(many, max_examples=2000)
@given(near, near, flag, classes, classes, st.sampled_from((0, 20 * MS)))
def test_a_cpu_is_kicked_once_in_a_gap(
    policy: Policy, since: int, gap: int, pending: int, cls: int, w_cls: int, debt: int
) -> None:
    a = policy(
        wait=since, value=gap, pending=pending, class_id=cls, w_class_id=w_cls, debt=debt,
    )  # fmt: skip
    assert a.after_kick <= a.gives_way
    if pending and since < MS:
        assert not a.after_kick, "somebody is on the way to it"
    elif since >= gap:
        assert a.after_kick == a.gives_way
    elif since >= gap // 4:
        assert a.after_kick == min(a.gives_way, 1), "least gladly, but it does"
    else:
        assert not a.after_kick


@many
@given(u64, u64)
def test_another_cache_goes_first_only_when_it_leads(policy: Policy, far: int, near: int) -> None:
    empty = 2**64 - 1
    expected = far != empty and (near == empty or near - far > 2 * MS)
    assert policy(far=far, near=near).overdue == expected


@many
@given(u64, u64)
def test_a_task_stays_with_its_waker_only_a_little_past_the_head(
    policy: Policy, key: int, head: int
) -> None:
    assert policy(far=key, near=head).handed == (key <= head + MS)


@many
@given(st.integers(0, 2**51 - 1))
def test_microseconds_need_no_division(policy: Policy, ns: int) -> None:
    assert policy(wait=ns).us == ns // 1000


def test_short_answering_game_thread_beats_the_games_older_workers(policy: Policy) -> None:
    facts = {"maturity": 9, "class_id": GAME, "game_active": 1, "window_open": 1}
    input_thread = policy(burst_avg=50_000, now=10**12 + 5 * MS, **facts)
    worker = policy(burst_avg=3 * MS, now=10**12, **facts)
    assert input_thread.key < worker.key


@many
@given(tunables, span, span, span, flag, flag)
def test_a_light_kernel_worker_is_as_urgent_as_a_bound_one(
    policy: Policy, tun: tuple[int, ...], burst: int, avg: int, debt: int, game: int, window: int
) -> None:
    """Page flips and dm-crypt are done by workers that any CPU may run; heavy ones stay behind the game."""
    facts = {"burst": burst, "burst_avg": avg, "debt": debt, "game_active": game,
             "window_open": window, "maturity": 9, "now": 10**12}  # fmt: skip
    worker = policy(tun, class_id=NORMAL, worker=1, **facts)
    program = policy(tun, class_id=NORMAL, **facts)
    if max(burst, avg) < 2 * MS and debt < 2 * MS:
        assert worker.rel == 0
    else:
        assert worker.rel == program.rel


@many
@given(st.integers(0, 2 * MS - 1), span, st.sampled_from((NORMAL, BACKGROUND, GAME)))
def test_a_light_kernel_worker_preempts_as_a_bound_one(
    policy: Policy, debt: int, burst: int, victim: int
) -> None:
    running = {"burst": burst, "debt": 20 * MS, "class_id": victim, "burst_avg": 0}
    worker = policy(w_class_id=NORMAL, w_debt=debt, worker=1, **running)
    bound = policy(w_class_id=KTHREAD, w_debt=debt, **running)
    if burst < 2 * MS:  # the driver's waker has the burst of the running task
        assert worker.gives_way == bound.gives_way
