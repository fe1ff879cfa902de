# SPDX-License-Identifier: GPL-2.0-or-later
"""The promises of a rate, for any packets: shaper.h under the sanitizers."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.conftest import Shaper

SECOND = 10**9
UP, DOWN = 0, 1
LOWEST, HIGHEST, LONGEST = 16_000, 1_250_000_000, 65_535

# As many slow as fast rates.
rates = st.floats(0, 1).map(lambda x: int(LOWEST * (HIGHEST / LOWEST) ** x))
directions = st.sampled_from((UP, DOWN))
many = settings(max_examples=60, deadline=None)


def burst_ns(rate: int, direction: int) -> int:
    """20 ms down; up one segment of 64 KiB, within 10 to 50 ms; eight packets at least."""
    least = 12_000 * SECOND // rate
    if direction == DOWN:
        return max(least, 20_000_000)
    return max(least, min(max(65536 * SECOND // rate, 10_000_000), 50_000_000))


def demand(
    draw: random.Random, rate: int, direction: int, longest: int, how: str
) -> list[tuple[int, int]]:
    """At least 1.2 times what the rate allows in each half of a burst, arranged as `how` says."""
    window = burst_ns(rate, direction) // 2
    smallest = max(40, rate * window // SECOND // 150)
    longest = max(longest, smallest)
    lasting = 20 * (longest * SECOND // rate + 2 * window)
    packets: list[tuple[int, int]] = []
    last = 0
    for number in range(lasting // window + 1):
        wanted, sizes = 1.2 * rate * window / SECOND, []
        while wanted > 0:
            sizes.append(draw.randint(smallest, longest))
            wanted -= sizes[-1]
        start = number * window
        if how == "together":
            times = [start] * len(sizes)
        elif how == "even":
            times = [start + i * window // len(sizes) for i in range(len(sizes))]
        else:
            times = sorted(start + draw.randrange(window) for _ in sizes)
        for time, size in zip(times, sizes, strict=True):
            packets.append((time - last, size))
            last = time
    return packets


@many
@given(
    rates,
    directions,
    st.sampled_from((60, 1500, 9000, LONGEST)),
    st.sampled_from(("together", "even", "random")),
    st.integers(0, 2**32),
)
def test_enough_demand_gets_the_rate(
    shaper: Shaper, rate: int, direction: int, longest: int, how: str, seed: int
) -> None:
    packets = demand(random.Random(seed), rate, direction, longest, how)
    passed = shaper.passed(rate, direction, packets)
    lasted = sum(gap for gap, _size in packets)
    got = sum(size for (_gap, size), ok in zip(packets, passed, strict=True) if ok)
    assert 0.9 <= got * SECOND / lasted / rate <= 1.1


@many
@given(
    rates,
    directions,
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, LONGEST)), min_size=1, max_size=300),
)
def test_no_stretch_of_time_gets_more_than_the_rate_and_a_burst(
    shaper: Shaper, rate: int, direction: int, packets: list[tuple[int, int]]
) -> None:
    passed = shaper.passed(rate, direction, packets)
    allowed = burst_ns(rate, direction) + LONGEST * SECOND // rate + len(packets)
    over = worst = 0
    for (gap, size), ok in zip(packets, passed, strict=True):
        over = max(0, over - gap)
        if ok:
            over += size * SECOND // rate
        worst = max(worst, over)
    assert worst <= allowed


@many
@given(rates, directions, st.integers(1, LONGEST))
def test_a_lone_packet_passes_whatever_its_size(
    shaper: Shaper, rate: int, direction: int, size: int
) -> None:
    gap = 11 * SECOND
    assert shaper.passed(rate, direction, [(0, size), (gap, size), (gap, size)]) == b"\1\1\1"


def test_the_debt_of_a_long_segment_is_waited_for(shaper: Shaper) -> None:
    rate = 16_000
    packets = [(0, 64_000)] + [(SECOND // 2, 100)] * 9  # 4 s of debt, 0.75 s of burst
    assert shaper.passed(rate, DOWN, packets) == b"\1" + b"\0" * 6 + b"\1\1\1"


def test_the_lowest_rate_lets_a_few_packets_through_at_once(shaper: Shaper) -> None:
    for direction in (UP, DOWN):
        assert shaper.passed(LOWEST, direction, [(0, 1500)] * 20) == b"\1" * 9 + b"\0" * 11


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("0.0.0.0", True),
        ("1.1.1.1", False),
        ("9.255.255.255", False),
        ("10.0.0.0", True),
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("100.63.255.255", False),
        ("100.64.0.0", True),
        ("100.127.255.255", True),
        ("100.128.0.0", False),
        ("126.255.255.255", False),
        ("127.0.0.1", True),
        ("128.0.0.0", False),
        ("169.253.255.255", False),
        ("169.254.0.1", True),
        ("169.255.0.0", False),
        ("172.15.255.255", False),
        ("172.16.0.0", True),
        ("172.31.255.255", True),
        ("172.32.0.0", False),
        ("192.167.255.255", False),
        ("192.168.0.0", True),
        ("192.168.255.255", True),
        ("192.169.0.0", False),
        ("223.255.255.255", False),
        ("224.0.0.1", True),
        ("255.255.255.255", True),
        ("::", True),
        ("::1", True),
        ("::2", False),
        ("2001:db8::1", False),
        ("2a00:1450::1", False),
        ("fbff::1", False),
        ("fc00::1", True),
        ("fdff:ffff::1", True),
        ("fe00::1", False),
        ("fe80::1", True),
        ("febf::1", True),
        ("fec0::1", True),
        ("ff02::1", True),
        ("64:ff9b::1.1.1.1", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:1.1.1.1", False),
    ],
)
def test_which_addresses_are_local(shaper: Shaper, address: str, local: bool) -> None:
    assert shaper.local(address) is local
