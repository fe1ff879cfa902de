# SPDX-License-Identifier: GPL-2.0-or-later
"""Heartbeats: to the kernel, where a stale one ends the boosts, and to systemd's watchdog."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from scx_gamer.system.loop import Loop
from scx_gamer.system.sd_notify import Notifier

if TYPE_CHECKING:
    from scx_gamer.input.monitor import InputMonitor
    from scx_gamer.observe.control_ring import Sender
    from scx_gamer.scheduler.machine import Machine

log = logging.getLogger(__name__)

SLEPT_S = 1.5  # a beat that is later than a busy machine makes it


class Heartbeat:
    """Beats every `period_s` from the first beat() on, for as long as the loop runs, and then calls `on_beat`."""

    def __init__(
        self,
        loop: Loop,
        machine: Machine,
        feed: Sender,
        input_: InputMonitor | None,
        notifier: Notifier,
        period_s: float,
        on_beat: Callable[[], None],
    ) -> None:
        self._loop, self._machine, self._feed = loop, machine, feed
        self._input, self._notifier = input_, notifier
        self._on_beat = on_beat
        self._period_s = period_s
        self._last = 0, 0  # boot time, and how much of it was spent suspended
        self.sleeps = 0  # suspends, and stops of this process

    def beat(self) -> None:
        """Beat once; check the scheduler as well, because the event of its end may be lost."""
        if self._machine.attached is not None:
            self._feed.send("HEARTBEAT")
        self._machine.check()
        self._on_beat()
        self._resync_after_sleep()
        delay = self._period_s
        if self._notifier.watchdog_s is not None:
            self._notifier.watchdog()
            delay = min(delay, self._notifier.watchdog_s / 2)
        self._loop.call_later(delay, self.beat, name="heartbeat")

    def _resync_after_sleep(self) -> None:
        """Query the held keys after a suspend or a stop of this process, because key releases were missed."""
        before_ns, asleep_ns = self._last
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._last = now_ns, now_ns - self._loop.now_ns()
        late = now_ns - before_ns > 1e9 * (self._period_s + SLEPT_S)
        if before_ns and (late or self._last[1] - asleep_ns > 1e9 * SLEPT_S):
            log.info(
                "no heartbeat for %.1f s: devices are queried again", (now_ns - before_ns) / 1e9
            )
            self.sleeps += 1
            if self._input is not None:
                self._input.resync()
