# SPDX-License-Identifier: GPL-2.0-only
"""Signs of life: to the kernel, whose effects end without them, and to systemd's watchdog."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from scx_gamer.service.services import Rooms
from scx_gamer.system.loop import Loop
from scx_gamer.system.sd_notify import Notifier

log = logging.getLogger(__name__)

SLEPT_S = 1.5  # a beat later than this was not just a busy machine's


class Heartbeat:
    """Beats every `period_s` from start() on, for as long as the loop runs, and calls `beside`."""

    def __init__(
        self,
        loop: Loop,
        rooms: Rooms,
        notifier: Notifier,
        period_s: float,
        beside: Callable[[], None],
    ) -> None:
        self._loop, self._rooms, self._notifier = loop, rooms, notifier
        self._beside = beside
        self._period_s = period_s
        self._last = 0, 0  # boot time, and how much of it was spent suspended

    def start(self) -> None:
        self._beat()

    def _beat(self) -> None:
        """Also a look at the exit record, should its event have been lost."""
        machine, observe = self._rooms.machine, self._rooms.observe
        if machine is not None and observe is not None and machine.life is not None:
            observe.feed.send("HEARTBEAT")
            machine.check()
        self._beside()
        self._watch_sleep()
        delay = self._period_s
        if self._notifier.watchdog_s is not None:
            self._notifier.watchdog()
            delay = min(delay, self._notifier.watchdog_s / 2)
        self._loop.call_later(delay, self._beat, name="heartbeat")

    def _watch_sleep(self) -> None:
        """After a suspend, or a stop of this process, ask the devices: releases went unseen."""
        before_ns, asleep_ns = self._last
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._last = now_ns, now_ns - self._loop.now_ns()
        late = now_ns - before_ns > 1e9 * (self._period_s + SLEPT_S)
        if before_ns and (late or self._last[1] - asleep_ns > 1e9 * SLEPT_S):
            log.info("no heartbeat for %.1f s: devices are asked again", (now_ns - before_ns) / 1e9)
            self._rooms.sleeps += 1
            if self._rooms.input is not None:
                self._rooms.input.resync()
