# SPDX-License-Identifier: GPL-2.0-or-later
"""Counted waits: their sum and their histogram agree with the time that tasks did wait."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from tests.vm.attach.conftest import attach, attached


def test_waits_add_up(hogs: Callable[[int], None]) -> None:
    """Of N tasks that always want one of C CPUs, N - C wait at any time, also where somebody preempts them."""
    cpus = os.cpu_count() or 1
    count = 3 * cpus
    with attach() as life:
        buckets = life.abi["WAIT_BUCKETS"]

        def told() -> list[int]:
            return [life.total("wait_sum_ns[0]")] + [
                life.total(f"wait_hist[{bucket}]") for bucket in range(buckets)
            ]

        hogs(count)
        life.sleep(1)
        before, begin = told(), time.monotonic()
        while (now := time.monotonic()) < begin + 1:
            life.beat()
            time.sleep(0.002)
        waited, *histogram = (b - a for a, b in zip(before, told(), strict=True))
        assert attached()
    wanted = (count - cpus) * (now - begin) * 1e9
    print(f"waited {waited / 1e9:.2f} s of {wanted / 1e9:.2f} s, {histogram}")
    assert 0.85 * wanted < waited < 1.3 * wanted
    # A bucket's waits are below 2^b us and not below half of that.
    above = sum(n << bucket for bucket, n in enumerate(histogram)) * 1000
    assert above / 2 - histogram[0] * 1000 <= waited <= above
