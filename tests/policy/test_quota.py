# SPDX-License-Identifier: GPL-2.0-or-later
"""The leaky bucket of a cgroup's quota: what it lets through, and for how long a task waits at most."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.conftest import Policy

MS = 1_000_000
TURN = 4 * MS
HOLD_MIN, HOLD_MAX = MS, 5000 * MS
# What the kernel lets be set, in us; twice the period is two CPUs.
periods = st.integers(1000, 1_000_000)
quotas = st.integers(1000, 2_000_000)


@settings(max_examples=60, deadline=None)
@given(periods, quotas, st.integers(1, 3))
def test_a_cgroup_has_its_quota_and_one_period_in_advance(
    policy: Policy, period: int, quota: int, cpus: int
) -> None:
    """Hogs that take turns in step, one on each CPU."""
    wanted = quota / period
    now = begin = 10**12
    paid = ran = 0
    for _ in range(400):
        for _ in range(cpus):
            asked = policy(paid=paid, period=period, quota=quota, burst=TURN, now=now + TURN)
            paid = asked.quota_until
            ran += TURN
        now += TURN
        hold = policy(paid=paid, period=period, quota=quota, now=now).hold
        now = max(now, hold)
    # Where its quota pays less, a task has a turn in HOLD_MAX all the same.
    promised = max(wanted, cpus * TURN / (HOLD_MAX + TURN))
    most = promised * (now - begin) + quota * 1000
    late = HOLD_MIN * wanted + cpus * TURN
    assert ran <= most * 1.001 + late
    if wanted <= cpus:
        least = min(wanted, cpus) * (now - begin) - late
        assert ran >= least * 0.99 - quota * 1000


@settings(max_examples=200, deadline=None)
@given(periods, quotas, st.integers(0, 2**50), st.integers(0, 10**9), st.integers(10**12, 2**50))
def test_nobody_waits_for_longer_than_is_promised(
    policy: Policy, period: int, quota: int, paid: int, ran: int, now: int
) -> None:
    hold = policy(paid=paid, period=period, quota=quota, burst=ran, now=now).hold
    assert hold == 0 or now + HOLD_MIN < hold <= now + HOLD_MAX


def test_no_quota_costs_nothing(policy: Policy) -> None:
    asked = policy(paid=0, period=100_000, quota=2**64 - 1, burst=10 * MS, now=10**12)
    assert asked.hold == 0 and asked.quota_until <= 10**12
