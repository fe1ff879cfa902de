# SPDX-License-Identifier: GPL-2.0-or-later
"""The open devices as one source of the loop: their events where no hook opens the windows, else their end alone."""

from __future__ import annotations

import errno
import select
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Protocol

from scx_gamer.input.acts import Source
from scx_gamer.input.classify import EV_ABS, EV_REL
from scx_gamer.input.devices import DeviceInfo
from scx_gamer.input.hotplug import FdLoop
from scx_gamer.input.reader import (
    BATCH,
    MASK_KEYS,
    MASK_MOTION,
    MASK_NOTHING,
    NO_BATCH,
    Batch,
    Reader,
)
from scx_gamer.system.loop import NO_TIMER, Timer

_HANGUP = select.EPOLLHUP | select.EPOLLERR
_PAUSE_MIN_MS, _PAUSE_MAX_MS = 5, 100
# Reads amid other work before the loop has its turn: a device that floods gets no more.
_AT_ONCE = 8


class MonitorLoop(FdLoop, Protocol):
    """The part of the event loop that input needs."""

    def call_later(self, delay_s: float, callback: Callable[[], None], *, name: str) -> Timer: ...

    def add_signal(
        self, number: int, callback: Callable[[], None], *, in_signal_handler: Callable[[], None]
    ) -> None: ...


class ControlFeed(Protocol):
    """The part of the control ring's producer that input needs."""

    def send(self, type_name: str, **fields: int) -> bool: ...

    def send_at_once(self, type_name: str, **fields: int) -> None: ...

    def flush(self) -> None: ...


@dataclass(slots=True)
class Device:
    """A device with a lane. `reader` is None while its node is closed or cannot be opened."""

    info: DeviceInfo
    lanes: tuple[int, ...]  # by Source
    slot: int  # of the kernel's map of devices
    reader: Reader | None = None
    held: int = 0  # enum scxg_held by lane, as the kernel was told
    acts: int = 0  # as counted by the kernel when its node was left closed
    unmask: Timer = NO_TIMER
    flooded: bool = False
    reports: int = 0
    sampled_ns: int = 0
    rate_hz: float | None = None

    @property
    def mask(self) -> int:
        """The event types that open a lane."""
        motion = (self.lanes[Source.REL], 1 << EV_REL), (self.lanes[Source.ABS], 1 << EV_ABS)
        return MASK_KEYS | sum(bit for lane, bit in motion if lane)


class Monitor(Protocol):
    """Receives the results of reads."""

    def failed(self, device: Device, err: OSError) -> None: ...

    def poll_device(self, device: Device) -> bool: ...

    def on_window(self, lane: int) -> None: ...


class Listener:
    """One epoll for all devices: they are served together, so that a lane costs one message in a pass however many
    devices and events it has. Listens from the constructor to close(); the devices stay the monitor's.
    """

    def __init__(
        self,
        loop: MonitorLoop,
        feed: ControlFeed,
        counters: Counter[str],
        monitor: Monitor,
        *,
        events: bool,
        boost_ms: Callable[[int], int],
    ) -> None:
        self._loop, self._feed, self._counters, self._monitor = loop, feed, counters, monitor
        from scx_gamer.input import syscalls  # only a listener needs ctypes

        self._ready = syscalls.ready
        self._events = events
        self._boost_ms = boost_ms
        self._by_fd: dict[int, Device] = {}
        self._taken: list[tuple[Device, Batch | OSError]] = []
        self._taking = False
        with ExitStack() as stack:
            epoll = stack.enter_context(select.epoll(flags=select.EPOLL_CLOEXEC))
            if events:
                loop.add_signal(signal.SIGIO, self._finish, in_signal_handler=self._interrupted)
            loop.add_fd(epoll.fileno(), self._on_ready, name="input devices", urgent=events)
            stack.callback(loop.remove_fd, epoll.fileno())
            self._stack = stack.pop_all()
        self._epoll: select.epoll | None = epoll

    def close(self) -> None:
        """Stop listening; idempotent."""
        self._epoll = None
        self._taken.clear()
        self._stack.close()

    def add(self, device: Device) -> None:
        """Serve a device whose reader is open. Raises OSError."""
        if device.reader is None or self._epoll is None:
            return
        if self._events:
            device.reader.listen()
            with suppress(OSError):  # without, an event waits until what runs has ended
                device.reader.interrupt()
        # A hang-up is reported without being asked for.
        self._epoll.register(device.reader.fd, select.EPOLLIN if self._events else 0)
        self._by_fd[device.reader.fd] = device
        if self._events:
            self._mask(device, device.mask)

    def remove(self, device: Device) -> None:
        """Stop serving a device, and close its reader."""
        device.unmask.cancel()
        reader, device.reader = device.reader, None
        if reader is None:
            return
        self._by_fd.pop(reader.fd, None)
        try:
            if self._epoll is not None:
                self._epoll.unregister(reader.fd)
        finally:
            reader.close()

    # ---- events ----------------------------------------------------------------------------------

    def _on_ready(self, _fd: int) -> None:
        self._take(self._send_now)
        self._finish()

    def _interrupted(self) -> None:
        """Open the window of an event amid other work of this thread; the loop does the rest."""
        if not self._taking and len(self._taken) < _AT_ONCE:
            self._take(self._feed.send_at_once)

    def _send_now(self, type_name: str, **fields: int) -> None:
        self._feed.send(type_name, **fields)
        self._feed.flush()  # now, not when the pass ends

    def _take(self, tell: Callable[..., object]) -> None:
        """Read what there is and tell the kernel; what else it asks for is left to _finish."""
        if self._epoll is None:
            return
        last: dict[int, int] = {}
        self._taking = True
        try:
            for fd, flags in self._ready(self._epoll.fileno()):
                device = self._by_fd.get(fd)
                if device is None or device.reader is None:
                    continue
                try:
                    if flags & _HANGUP:
                        raise OSError(errno.ENODEV, "unplugged")
                    batch = device.reader.read()
                except OSError as err:
                    self._taken.append((device, err))
                    continue
                if batch.events:
                    self._taken.append((device, batch))
                for source, time_ns in batch.acted.items():
                    lane = device.lanes[source]
                    last[lane] = max(last.get(lane, 0), time_ns)
            last.pop(0, None)
            for lane, time_ns in last.items():
                tell("INPUT", index=lane, time_ns=time_ns)
        finally:
            self._taking = False

    def _finish(self) -> None:
        """Count reads, drop devices that are gone, and silence those that repeat themselves."""
        taken, self._taken = self._taken, []
        if not taken:
            return
        self._counters["wakeups"] += 1
        lanes: dict[int, None] = {}  # in order, each once
        for device, got in taken:
            if isinstance(got, OSError):
                self._monitor.failed(device, got)
                continue
            lanes.update(dict.fromkeys(_lanes_of(device, got)))
            flood = got.events >= BATCH
            rest = self._pause(device, got, flood)
            self._counters["events"] += got.events + rest.events
            if got.dropped or rest.dropped or flood:
                self._counters["resyncs"] += 1
                self._monitor.poll_device(device)
        self._counters["messages"] += len(lanes)
        for lane in lanes:
            self._monitor.on_window(lane)

    def _pause(self, device: Device, got: Batch, flood: bool) -> Batch:
        """Stop listening to motion for half the window that it has just opened. Returns what came before that.

        Each wake-up costs about 20 us, 17 % of a CPU at 8 kHz, and says nothing new: the window
        is open. Motion after the pause extends it before it ends, so continuous motion keeps it
        open with some forty wake-ups a second. Keys still come through, unless the device floods:
        then nothing does until the pause is over and the keys are asked for again. Motion that
        would open another lane, or that has opened none, is not paused.
        """
        motion = {device.lanes[source] for source in (Source.REL, Source.ABS)} - {0}
        opened = _lanes_of(device, got)
        if not flood and not (motion and motion <= opened):
            return NO_BATCH
        if device.unmask.pending or not self._mask(
            device, MASK_NOTHING if flood else device.mask & ~MASK_MOTION
        ):
            return NO_BATCH
        if flood:
            device.flooded = True
            self._counters["floods"] += 1
        shortest = min((self._boost_ms(lane) for lane in opened | motion), default=0)
        pause_ms = min(max(shortest // 2, _PAUSE_MIN_MS), _PAUSE_MAX_MS)
        device.unmask = self._loop.call_later(
            pause_ms / 1000, lambda: self._resume(device), name="input pause"
        )
        return self._read(device)

    def _resume(self, device: Device) -> None:
        flooded, device.flooded = device.flooded, False
        if not self._mask(device, device.mask):
            return
        # A stick may have come back meanwhile: else it would not count when it goes there again.
        try:
            moved = device.reader is not None and device.reader.moved()
        except OSError as err:
            self._monitor.failed(device, err)
            return
        if moved and device.lanes[Source.ABS]:
            self._send_now("INPUT", index=device.lanes[Source.ABS], time_ns=time.monotonic_ns())
        if flooded:
            self._monitor.poll_device(device)

    def _read(self, device: Device) -> Batch:
        if device.reader is not None:
            try:
                return device.reader.read()
            except OSError as err:
                self._monitor.failed(device, err)
        return NO_BATCH

    def _mask(self, device: Device, types: int) -> bool:
        if device.reader is None:
            return False
        try:
            device.reader.set_mask(types)
        except OSError as err:
            self._monitor.failed(device, err)
            return False
        return True


def _lanes_of(device: Device, batch: Batch) -> set[int]:
    """Return the lanes that this read opened."""
    return {device.lanes[source] for source in batch.acted} - {0}
