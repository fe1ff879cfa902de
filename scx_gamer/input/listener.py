# SPDX-License-Identifier: GPL-2.0-only
"""The open devices as one source of the loop: their events where no hook opens the windows, else their end alone."""

from __future__ import annotations

import errno
import select
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from scx_gamer.input.devices import DeviceInfo
from scx_gamer.input.hotplug import FdLoop
from scx_gamer.input.reader import (
    BATCH,
    MASK_ALL,
    MASK_KEYS,
    MASK_NOTHING,
    Batch,
    Held,
    Reader,
)

NOTHING_HELD = Held()
_NOTHING = Batch(0, 0, False)
_HANGUP = select.EPOLLHUP | select.EPOLLERR
_PAUSE_MIN_MS, _PAUSE_MAX_MS = 5, 100
_AT_ONCE = (
    8  # reads amid other work before the loop has its turn: a device that floods gets no more
)


class RoomTimer(Protocol):
    def cancel(self) -> None: ...


class RoomLoop(FdLoop, Protocol):
    """What the room needs of the event loop."""

    def call_later(self, delay_s: float, callback: Callable[[], None], *, name: str) -> Any: ...

    def add_signal(
        self, number: int, callback: Callable[[], None], *, in_signal_handler: Callable[[], None]
    ) -> None: ...


class RoomFeed(Protocol):
    """What the room needs of the control ring's producer."""

    def send(self, type_name: str, **fields: int) -> bool: ...

    def send_at_once(self, type_name: str, **fields: int) -> None: ...

    def flush(self) -> None: ...


@dataclass(slots=True)
class Device:
    """A device with a lane. `reader` is None where its node cannot be opened."""

    info: DeviceInfo
    lane: int
    reader: Reader | None
    held: Held = NOTHING_HELD
    unmask: RoomTimer | None = None
    flooded: bool = False
    events: int = 0
    sampled_ns: int = 0
    rate_hz: float | None = None


class Room(Protocol):
    """Who is told what a read brought."""

    def failed(self, device: Device, err: OSError) -> None: ...

    def poll_device(self, device: Device) -> Held: ...

    def on_window(self, lane: int) -> None: ...


class Listener:
    """One epoll for all devices: they are served together, so that a lane costs one message in a pass however many
    devices and events it has. Listens from the constructor to close(); the devices stay the room's.
    """

    def __init__(
        self,
        loop: RoomLoop,
        feed: RoomFeed,
        counters: Counter[str],
        room: Room,
        *,
        events: bool,
        boost_ms: Callable[[int], int],
    ) -> None:
        self._loop, self._feed, self._counters, self._room = loop, feed, counters, room
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
        """Idempotent."""
        self._epoll = None
        self._taken.clear()
        self._stack.close()

    def add(self, device: Device) -> None:
        if device.reader is None or self._epoll is None:
            return
        if self._events:
            with suppress(OSError):  # without, an event waits until what runs has ended
                device.reader.interrupt()
        # A hang-up is reported without being asked for.
        self._epoll.register(device.reader.fd, select.EPOLLIN if self._events else 0)
        self._by_fd[device.reader.fd] = device
        if self._events:
            self._mask(device, MASK_ALL)

    def remove(self, device: Device) -> None:
        """And close its reader."""
        if device.unmask is not None:
            device.unmask.cancel()
            device.unmask = None
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
        self._take(self._tell)
        self._finish()

    def _interrupted(self) -> None:
        """An event amid other work of this thread: its window opens now, the loop does the rest."""
        if not self._taking and len(self._taken) < _AT_ONCE:
            self._take(self._feed.send_at_once)

    def _tell(self, type_name: str, **fields: int) -> None:
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
                if batch.count:
                    self._taken.append((device, batch))
                    last[device.lane] = max(last.get(device.lane, 0), batch.last_ns)
            for lane, time_ns in last.items():
                tell("INPUT", index=lane, time_ns=time_ns)
        finally:
            self._taking = False

    def _finish(self) -> None:
        """What was read, counted; devices that are gone, dropped; those that say the same again, silenced."""
        taken, self._taken = self._taken, []
        if not taken:
            return
        self._counters["wakeups"] += 1
        lanes = {device.lane: None for device, got in taken if isinstance(got, Batch)}
        self._counters["messages"] += len(lanes)
        for device, got in taken:
            if isinstance(got, OSError):
                self._room.failed(device, got)
                continue
            flood = got.count >= BATCH
            rest = self._pause(device, flood)
            self._counters["events"] += got.count + rest.count
            if got.dropped or rest.dropped or flood:
                self._counters["resyncs"] += 1
                self._room.poll_device(device)
        for lane in lanes:
            self._room.on_window(lane)

    def _pause(self, device: Device, flood: bool) -> Batch:
        """Stop listening to motion for half the window that it has just opened. Returns what came before that.

        Each wake-up costs about 20 us, 17 % of a CPU at 8 kHz, and says nothing new: the window
        is open. Motion after the pause extends it before it ends, so continuous motion keeps it
        open with some forty wake-ups a second. Keys still come through, unless the device floods:
        then nothing does until the pause is over and the keys are asked for again.
        """
        if device.unmask is not None or not self._mask(
            device, MASK_NOTHING if flood else MASK_KEYS
        ):
            return _NOTHING
        if flood:
            device.flooded = True
            self._counters["floods"] += 1
        pause_ms = min(max(self._boost_ms(device.lane) // 2, _PAUSE_MIN_MS), _PAUSE_MAX_MS)
        device.unmask = self._loop.call_later(
            pause_ms / 1000, lambda: self._resume(device), name="input pause"
        )
        return self._read(device)

    def _resume(self, device: Device) -> None:
        device.unmask = None
        flooded, device.flooded = device.flooded, False
        if self._mask(device, MASK_ALL) and flooded:
            self._room.poll_device(device)

    def _read(self, device: Device) -> Batch:
        if device.reader is not None:
            try:
                return device.reader.read()
            except OSError as err:
                self._room.failed(device, err)
        return _NOTHING

    def _mask(self, device: Device, types: int) -> bool:
        if device.reader is None:
            return False
        try:
            device.reader.set_mask(types)
        except OSError as err:
            self._room.failed(device, err)
            return False
        return True
