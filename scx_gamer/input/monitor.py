# SPDX-License-Identifier: GPL-2.0-only
"""The input room: keeps the kernel told which devices there are, and which keys are held."""

from __future__ import annotations

import errno
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from scx_gamer.input.classify import Lane
from scx_gamer.input.devices import DEV, SYSFS, DeviceInfo, read_device, scan_devices
from scx_gamer.input.hotplug import Hotplug
from scx_gamer.input.listener import (
    NOTHING_HELD,
    Device,
    Listener,
    RoomFeed,
    RoomLoop,
    RoomTimer,
)
from scx_gamer.input.reader import Held, Reader, open_reader
from scx_gamer.system.errors import ScxGamerError

log = logging.getLogger(__name__)

_SAMPLE_MIN_NS, _SAMPLE_MAX_NS = 1_900_000_000, 5_000_000_000  # span of a device's rate


class InputError(ScxGamerError):
    """The room cannot listen: `what` failed with `errno`, and `hint` says what to do."""

    separator = "; "

    def __init__(self, what: str, number: int, hint: str) -> None:
        super().__init__(f"{what}: {errno.errorcode.get(number, number)}", number, hint)


class RoomAbi(Protocol):
    """What the room needs of abi.h."""

    @property
    def constants(self) -> Any: ...

    def pack(self, name: str, **fields: int) -> bytes: ...

    def unpack(self, name: str, data: Any) -> Mapping[str, Any]: ...


class InputRoom:
    """Owns the open devices, their entries of the `devices` map, and the hotplug monitor.

    On the kernel path no event wakes the supervisor: the fexit program opens the windows, and the
    devices are open only to ask which keys are held. On the evdev path its listener reads the events.
    """

    def __init__(
        self,
        loop: RoomLoop,
        feed: RoomFeed,
        maps: Mapping[str, Any],
        abi: RoomAbi,
        *,
        kernel_path: bool,
        missed: Callable[[], int] = lambda: 0,
        sysfs: Path = SYSFS,
        dev: Path = DEV,
    ) -> None:
        self._loop = loop
        self._feed = feed
        self._map = maps["devices"]
        self._maps = maps
        self._abi = abi
        self._kernel_path = kernel_path
        self._missed, self._missed_seen = missed, 0  # events that the hook did not run for
        self._sysfs = sysfs
        self._dev = dev
        constants = abi.constants
        self._lanes = {lane: int(constants[f"SCXG_LANE_{lane.name}"]) for lane in Lane}
        self._boost = {
            self._lanes[lane]: int(constants[f"SCXG_TUN_BOOST_{lane.name}_MS"])
            for lane in Lane
            if lane is not Lane.NONE
        }
        self._poll_s = int(constants["SCXG_HELD_POLL_MS"]) / 1000
        self._watch_s = 0.75 * int(constants["SCXG_HELD_LEASE_MS"]) / 1000
        self._held_keys = int(constants["SCXG_HELD_KEYS"])
        self._held_axes = int(constants["SCXG_HELD_AXES"])
        self._max_devices = int(constants["SCXG_MAX_DEVICES"])
        self._devices: dict[int, Device] = {}
        self._present: set[int] = set()  # with those that nobody listens to
        self._active: set[int] = set()
        self._timer: RoomTimer | None = None
        self._windows: Any = None
        self._tunables: Any = None
        self._listener: Listener | None = None
        self._stack = ExitStack()
        self.counters: Counter[str] = Counter()

    @property
    def path(self) -> str:
        """Which path opens the windows: "kernel" or "evdev"."""
        return "kernel" if self._kernel_path else "evdev"

    def start(self) -> None:
        """Listen to every device there is and to every one that comes; raises InputError."""
        with ExitStack() as stack:
            try:
                windows = stack.enter_context(self._maps["windows"].mapped("scxg_windows"))
                tunables = stack.enter_context(self._maps["tunables"].mapped("scxg_tunables"))
                self._windows, self._tunables = windows[0], tunables[0]
                self._listener = Listener(
                    self._loop,
                    self._feed,
                    self.counters,
                    self,
                    events=not self._kernel_path,
                    boost_ms=lambda lane: self._tunables.get(f"value[{self._boost[lane]}]"),
                )
                stack.callback(self._listener.close)
                stack.callback(self._release)
                hotplug = Hotplug(self._loop, self._on_added, self._on_removed, self._rescan)
                stack.callback(hotplug.close)
            except OSError as err:
                raise InputError(
                    "cannot listen to input devices", err.errno or 0, "is /sys mounted, and root?"
                ) from err
            self._rescan()  # after the monitor started: nothing slips between the two
            self._stack = stack.pop_all()
        log.info(
            "input: %d devices, %s path, hotplug from %s",
            len(self._devices),
            self.path,
            hotplug.source,
        )

    def close(self) -> None:
        """Close every device and take its map entry back. Idempotent."""
        self._stack.close()
        self._listener = None

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._active.clear()
        with ExitStack() as all_of_them:  # one that fails does not keep the others
            for number in list(self._devices):
                all_of_them.callback(self._drop, number)

    # ---- devices that come and go ----------------------------------------------------------------

    def _rescan(self) -> None:
        present = {info.number: info for info in scan_devices(self._sysfs, self._dev)}
        self._present = set(present)
        for number in [number for number in self._devices if number not in present]:
            self._drop(number)
        for info in present.values():
            self._add(info)

    def _on_added(self, name: str) -> None:
        info = read_device(self._sysfs, name, self._dev)
        if info is not None:  # else it is gone again
            self._present.add(info.number)
            self._add(info)

    def _on_removed(self, name: str) -> None:
        if name.removeprefix("input").isdecimal():
            number = int(name.removeprefix("input"))
            self._present.discard(number)
            self._drop(number)

    def _add(self, info: DeviceInfo) -> None:
        if info.lane is Lane.NONE or info.event is None or info.number in self._devices:
            return
        if len(self._devices) >= self._max_devices:
            self._count_error("too many input devices, ignoring", info, errno.ENOSPC)
            return
        lane = self._lanes[info.lane]
        with ExitStack() as undo:
            reader: Reader | None = None
            try:
                device_dir = f"{self._sysfs}/input{info.number}"
                reader = open_reader(info.event, info.kind, device_dir)
                undo.callback(reader.close)
            except OSError as err:
                if err.errno in (errno.ENODEV, errno.ENXIO, errno.ENOENT):
                    return  # unplugged already
                # The kernel path still opens its windows; only held keys go unseen.
                self._count_error("cannot open", info, err.errno or 0)
            device = Device(replace(info, path=self.path), lane, reader)
            key = info.number.to_bytes(4, sys.byteorder)
            self._map.update(key, self._abi.pack("scxg_device", lane=lane))
            undo.callback(self._map.delete, key)
            if self._listener is not None:
                self._listener.add(device)
            self._devices[info.number] = device
            undo.pop_all()
        self.counters["added"] += 1
        log.info("input%d %s: %s, %s lane", info.number, info.name, info.kind, info.lane)
        # Keys may be down from before we looked, and the lane may be watched already.
        if lane in self._active:
            self.poll_device(device)
        self.on_window(lane)

    def _drop(self, number: int) -> None:
        device = self._devices.pop(number, None)
        if device is None:
            return
        with ExitStack() as last:  # whatever fails before, the descriptor goes
            if self._listener is not None:
                last.callback(self._listener.remove, device)
            # The kernel may know of a key that no poll has seen. While the map still has the device: a
            # message about one that it does not know is refused.
            self._send_held(device, NOTHING_HELD)
            self._feed.flush()
            self._map.delete(number.to_bytes(4, sys.byteorder))
        self.counters["removed"] += 1
        log.info("input%d %s: gone", number, device.info.name)

    def _count_error(self, what: str, info: DeviceInfo, number: int) -> None:
        self.counters["errors"] += 1
        log.warning(
            "%s input%d %s: %s", what, info.number, info.name, errno.errorcode.get(number, number)
        )

    def failed(self, device: Device, err: OSError) -> None:
        """It cannot be read any more, and goes."""
        # ENODEV is how an unplug looks before its uevent: without this the fd would spin.
        if err.errno != errno.ENODEV:
            self._count_error("lost", device.info, err.errno or 0)
        self._drop(device.info.number)

    # ---- held keys and sticks --------------------------------------------------------------------

    def on_window(self, lane: int) -> None:
        """A lane went from closed to open: watch its keys until it is closed again."""
        if lane in self._active or lane not in self._boost:
            return
        self._active.add(lane)
        self._poll_lane(lane)
        self._arm(self._poll_s)

    def _arm(self, delay_s: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(delay_s, self._tick, name="held keys")

    def resync(self) -> None:
        """Ask every device for its keys now, as after a resume from suspend."""
        self.counters["resyncs"] += 1
        for lane in self._boost:
            self._active.discard(lane)
            self.on_window(lane)

    def _ask_for_missed(self) -> None:
        """The hook does not run for an event that comes amid another's on the same CPU: only the device knows then."""
        if not self._kernel_path:
            return  # no hook
        missed = self._missed()
        if missed != self._missed_seen:
            self.counters["missed"] += missed - self._missed_seen
            self._missed_seen = missed
            self.resync()

    def _tick(self) -> None:
        self._timer = None
        self._ask_for_missed()
        now = time.monotonic_ns()
        delay_s = self._watch_s
        for lane in list(self._active):
            until = self._windows.get(f"lane[{lane}].until_ns")
            held_until = self._windows.get(f"lane[{lane}].held_until_ns")
            if self._must_poll(lane, held_until, now):
                delay_s = self._poll_s
                if not self._poll_lane(lane) and now >= max(until, held_until):
                    self._active.discard(lane)
            elif now >= until:
                self._active.discard(lane)
            else:
                self._sample_lane(lane, now)
        if self._active:
            self._arm(delay_s)

    def _must_poll(self, lane: int, held_until_ns: int, now_ns: int) -> bool:
        """Whether the lane's devices must be asked.

        On the kernel path a press gives its lane a lease at once. While there is none and no
        stick, there is nothing to ask, and looking once within a lease is enough to renew the next
        one: that is what a mouse in motion costs.
        """
        if not self._kernel_path or now_ns < held_until_ns:
            return True
        return any(
            device.held or (device.reader is not None and device.reader.has_axes)
            for device in self._devices.values()
            if device.lane == lane
        )

    def _poll_lane(self, lane: int) -> bool:
        """Renew the lane's held devices; whether any is held."""
        held = False
        for device in [device for device in self._devices.values() if device.lane == lane]:
            held |= bool(self.poll_device(device))
        self._sample_lane(lane, time.monotonic_ns())
        return held

    def poll_device(self, device: Device) -> Held:
        """What of it is held now, told to the kernel."""
        if device.reader is None:
            return NOTHING_HELD
        self.counters["polls"] += 1
        try:
            held = device.reader.held(time.monotonic_ns())
        except OSError as err:
            self.failed(device, err)
            return NOTHING_HELD
        if held or device.held:
            self._send_held(device, held)
        return device.held

    def _send_held(self, device: Device, held: Held) -> None:
        value = held.keys * self._held_keys + held.axes * self._held_axes
        # A release that found the ring full stays marked as held and is told again.
        if self._feed.send("HELD", index=device.info.number, value=value):
            device.held = held

    def _sample_lane(self, lane: int, now_ns: int) -> None:
        """The rate of the lane's devices over the last two seconds or more, from the kernel's counters.

        Not on the evdev path: motion is masked there most of the time.
        """
        if not self._kernel_path:
            return
        for device in self._devices.values():
            elapsed_ns = now_ns - device.sampled_ns
            if device.lane != lane or elapsed_ns < _SAMPLE_MIN_NS:
                continue
            data = self._map.lookup(device.info.number.to_bytes(4, sys.byteorder))
            if data is None:
                continue
            events = int(self._abi.unpack("scxg_device", data)["events"])
            if events > device.events and elapsed_ns < _SAMPLE_MAX_NS:
                device.rate_hz = round((events - device.events) * 1e9 / elapsed_ns, 1)
            device.events, device.sampled_ns = events, now_ns

    # ---- what others see -------------------------------------------------------------------------

    def devices(self) -> list[DeviceInfo]:
        """Every input device, the listened-to ones with their path and last rate."""
        found = []
        for info in scan_devices(self._sysfs, self._dev):
            device = self._devices.get(info.number)
            if device is not None:
                info = replace(info, path=self.path, rate_hz=device.rate_hz)
            found.append(info)
        return found

    @property
    def present(self) -> int:
        """How many input devices there are, without a look at sysfs."""
        return len(self._present)

    def lanes(self) -> dict[str, int]:
        """Devices listened to, by lane."""
        names = {number: lane.name.lower() for lane, number in self._lanes.items()}
        return dict(Counter(names[device.lane] for device in self._devices.values()))

    def held(self) -> list[int]:
        """Numbers of the devices that have a key down or a stick off its rest."""
        return sorted(number for number, device in self._devices.items() if device.held)
