# SPDX-License-Identifier: GPL-2.0-or-later
"""The epoll loop: file descriptors, timers, signals, and the lag with which they are served."""

from __future__ import annotations

import heapq
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import ParamSpec, TypeVar

from scx_gamer.system.closing import Closing

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_MAX_READY = 64  # descriptors served in one pass
_MAX_TIMERS = 64  # timers served in one pass
_MAX_SIGNALS = 64  # signal numbers read from the wake-up pipe in one pass


class LoopError(Exception):
    """A source that could not be added, or a use of a closed loop."""


@dataclass(frozen=True)
class LoopStats:
    """Counters of the loop. Lag is a timer's delay after its due time; a pass is the work between two epoll waits."""

    passes: int
    lag_last_ns: int
    lag_max_ns: int
    pass_max_ns: int
    lag_recent_ns: int  # maxima since clear_recent()
    pass_recent_ns: int
    sources: int
    timers: int


class Timer:
    """A callback with a due time, until it ran or was cancelled."""

    __slots__ = ("callback", "cancelled", "due_ns", "name")

    def __init__(self, due_ns: int, callback: Callable[[], None], name: str) -> None:
        self.due_ns = due_ns
        self.callback = callback
        self.name = name
        self.cancelled = False

    @property
    def pending(self) -> bool:
        """True until the callback is called or dropped."""
        return not self.cancelled

    def cancel(self) -> None:
        """Drop the call; does nothing after it."""
        self.cancelled = True


NO_TIMER = Timer(0, lambda: None, "none")  # what an owner has before its first timer
NO_TIMER.cancel()


class Loop(Closing):
    """A single-threaded event loop.

    Each ready source is called once a pass and bounds its own work; an exception ends the loop. Urgent sources are
    polled after every callback, so they wait for one callback, not for a whole pass.
    """

    def __init__(self) -> None:
        self._epoll: select.epoll | None = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._urgent: select.epoll | None = None
        self._sources: dict[int, tuple[Callable[[int], None], str]] = {}
        self._heap: list[tuple[int, int, Timer]] = []
        self._sequence = 0
        self._pass_end: list[Callable[[], None]] = []
        self._signals: dict[int, Callable[[], None]] = {}
        self._in_signal_handler: dict[int, Callable[[], None]] = {}
        self._unblocked: frozenset[int] = frozenset()
        self._previous: dict[int, signal._HANDLER] = {}
        self._wakeup: tuple[int, int] | None = None
        self._previous_wakeup = -1
        self._running = False
        self._stopped = False
        self._passes = 0
        self._lag_last_ns = 0
        self._lag_max_ns = self._lag_recent_ns = 0
        self._pass_max_ns = self._pass_recent_ns = 0

    @staticmethod
    def now_ns() -> int:
        """Return the time of CLOCK_MONOTONIC, the clock of all timers."""
        return time.monotonic_ns()

    def add_fd(
        self, fd: int, callback: Callable[[int], None], *, name: str, urgent: bool = False
    ) -> None:
        """Call `callback(fd)` when `fd` is readable or hung up. The caller owns the fd. Raises LoopError."""
        self._add(fd, callback, name, select.EPOLLIN)
        if urgent:
            if self._urgent is None:
                self._urgent = select.epoll(flags=select.EPOLL_CLOEXEC)
            self._urgent.register(fd, select.EPOLLIN)

    def watch_writable(self, fd: int, writable: bool, *, readable: bool = True) -> None:
        """Set the events for which the source of `fd` is called, besides a hang-up. Raises LoopError."""
        if self._epoll is None or fd not in self._sources:
            raise LoopError(f"fd {fd} is not a source of the loop")
        events = (select.EPOLLIN if readable else 0) | (select.EPOLLOUT if writable else 0)
        self._epoll.modify(fd, events)

    def _add(self, fd: int, callback: Callable[[int], None], name: str, events: int) -> None:
        if self._epoll is None:
            raise LoopError(f"cannot add {name}: the loop is closed")
        if fd in self._sources:
            raise LoopError(
                f"cannot add {name}: fd {fd} is already the source {self._sources[fd][1]}"
            )
        try:
            self._epoll.register(fd, events)
        except OSError as err:
            raise LoopError(f"cannot watch {name}: {err.strerror}") from err
        self._sources[fd] = (callback, name)

    def remove_fd(self, fd: int) -> None:
        """Remove the source of `fd`, before its owner closes it. An unknown fd is ignored."""
        if self._sources.pop(fd, None) is None or self._epoll is None:
            return
        try:
            self._epoll.unregister(fd)
            if self._urgent is not None:
                with suppress(FileNotFoundError):  # not an urgent source
                    self._urgent.unregister(fd)
        except OSError as err:  # closed before: epoll removed it then
            log.debug("fd %d was closed before it was removed from the loop: %s", fd, err.strerror)

    def call_later(self, delay_s: float, callback: Callable[[], None], *, name: str) -> Timer:
        """Call `callback` once, `delay_s` seconds from now or as soon after that as the loop is free."""
        timer = Timer(self.now_ns() + max(0, int(delay_s * 1e9)), callback, name)
        self._sequence += 1
        heapq.heappush(self._heap, (timer.due_ns, self._sequence, timer))
        return timer

    def at_pass_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` at the end of each pass, before the loop waits again."""
        self._pass_end.append(callback)

    def add_signal(
        self,
        number: int,
        callback: Callable[[], None],
        *,
        in_signal_handler: Callable[[], None] | None = None,
    ) -> None:
        """Call `callback` in the loop after the signal.

        `in_signal_handler` is called earlier: in the handler itself, and only during run_interruptible().
        """
        if self._wakeup is None:
            reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._wakeup = (reader, writer)
            self._previous_wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
            self.add_fd(reader, self._on_wakeup, name="signals")
        if in_signal_handler is not None:
            # Loading a program fails with EAGAIN while a signal is pending (c3494801cd17, "bpf: check pending
            # signals while verifying programs", 5.0). Blocked signals are not counted.
            if number not in signal.pthread_sigmask(signal.SIG_BLOCK, {number}):
                self._unblocked |= {number}
            self._in_signal_handler[number] = in_signal_handler
        previous = signal.signal(number, self._on_signal)
        self._previous.setdefault(number, previous)
        self._signals[number] = callback

    def run_interruptible(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Call `work` with the signals that have an `in_signal_handler` unblocked, and return its result.

        `work` must not change state that such a handler uses.
        """
        if not self._in_signal_handler:
            return work(*args, **named)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._in_signal_handler)
        try:
            return work(*args, **named)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, self._in_signal_handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        in_signal_handler = self._in_signal_handler.get(number)
        if in_signal_handler is not None:
            try:
                in_signal_handler()
            # raised here it would end the interrupted work, which is not at fault
            except Exception:
                log.exception("handler of signal %d failed", number)
        # The loop runs the callback. A second SIGINT must end the process even if the loop is stuck.
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    def _on_wakeup(self, fd: int) -> None:
        try:
            numbers = os.read(fd, _MAX_SIGNALS)
        except BlockingIOError:
            return
        for number in dict.fromkeys(numbers):
            callback = self._signals.get(number)
            if callback is not None:
                callback()

    def run(self) -> None:
        """Serve sources and timers until stop(). An exception of a callback is logged with its name and raised."""
        if self._epoll is None:
            raise LoopError("cannot run: the loop is closed")
        self._running = True
        try:
            while not self._stopped:
                self._pass(self._epoll)
        finally:
            self._running = False

    def _pass(self, epoll: select.epoll) -> None:
        ready = epoll.poll(self._timeout_s(), _MAX_READY)
        began = self.now_ns()
        for fd, _events in ready:
            self._serve(fd)
            self._serve_urgent()
        self._run_timers()
        for callback in self._pass_end:
            self._call("end of pass", callback)
            self._serve_urgent()
        self._passes += 1
        self._pass_recent_ns = max(self._pass_recent_ns, self.now_ns() - began)

    def _serve(self, fd: int) -> None:
        source = self._sources.get(fd)  # an earlier callback may have removed it
        if source is not None:
            self._call(source[1], source[0], fd)

    def _serve_urgent(self) -> None:
        if self._urgent is not None:
            for fd, _events in self._urgent.poll(0):
                self._serve(fd)

    def _timeout_s(self) -> float:
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
        if not self._heap:
            return -1
        return max(0.0, (self._heap[0][0] - self.now_ns()) / 1e9)

    def _run_timers(self) -> None:
        for _ in range(_MAX_TIMERS):
            if not self._heap:
                return
            now = self.now_ns()
            due, _sequence, timer = self._heap[0]
            if timer.cancelled:
                heapq.heappop(self._heap)
                continue
            if due > now:
                return
            heapq.heappop(self._heap)
            timer.cancelled = True
            self._lag_last_ns = now - due
            self._lag_recent_ns = max(self._lag_recent_ns, now - due)
            self._call(timer.name, timer.callback)
            self._serve_urgent()

    @staticmethod
    def _call(name: str, callback: Callable[..., None], *args: int) -> None:
        try:
            callback(*args)
        except Exception as err:
            log.error("%s failed: %s: %s", name, type(err).__name__, err)
            raise

    def stop(self) -> None:
        """End run() after the current pass."""
        self._stopped = True

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stats(self) -> LoopStats:
        """Return a snapshot of the counters."""
        return LoopStats(
            passes=self._passes,
            lag_last_ns=self._lag_last_ns,
            lag_max_ns=max(self._lag_max_ns, self._lag_recent_ns),
            pass_max_ns=max(self._pass_max_ns, self._pass_recent_ns),
            lag_recent_ns=self._lag_recent_ns,
            pass_recent_ns=self._pass_recent_ns,
            sources=len(self._sources),
            timers=sum(not entry[2].cancelled for entry in self._heap),
        )

    def clear_recent(self) -> None:
        """Begin anew with the recent maxima."""
        self._lag_max_ns = max(self._lag_max_ns, self._lag_recent_ns)
        self._pass_max_ns = max(self._pass_max_ns, self._pass_recent_ns)
        self._lag_recent_ns = self._pass_recent_ns = 0

    def close(self) -> None:
        """Restore the signal handlers and close the fds that the loop itself opened."""
        for number in self._in_signal_handler:
            # a pending one would end the process when it is unblocked
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._unblocked)
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous.clear()
        self._signals.clear()
        self._in_signal_handler.clear()
        self._unblocked = frozenset()
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            self.remove_fd(wakeup[0])
            signal.set_wakeup_fd(self._previous_wakeup)
            os.close(wakeup[0])
            os.close(wakeup[1])
        epolls = (self._epoll, self._urgent)
        self._epoll = self._urgent = None
        for epoll in epolls:
            if epoll is not None:
                epoll.close()
        for name in (name for _callback, name in self._sources.values()):
            log.warning("%s was not removed before the loop was closed", name)
        self._sources.clear()
        self._heap.clear()
        self._pass_end.clear()
