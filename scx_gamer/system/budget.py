# SPDX-License-Identifier: GPL-2.0-or-later
"""A token bucket for each user, so that no user can spend another's share."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

_KEYS = 256  # remembered; the bucket that was used longest ago is forgotten first


class Budget:
    """`burst` tokens at first, and `per_second` more until there are `burst` again, for each key."""

    def __init__(
        self, per_second: float, burst: float, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.per_second = per_second
        self._burst = burst
        self._now_ns = now_ns
        self._left: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()  # tokens, when

    def take(self, key: Hashable) -> bool:
        """Spend a token of `key`; False if it has none."""
        now = self._now_ns()
        left, before = self._left.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - before) / 1e9 * self.per_second)
        self._left[key] = (left - 1 if left >= 1 else left, now)
        while len(self._left) > _KEYS:
            self._left.popitem(last=False)
        return left >= 1
