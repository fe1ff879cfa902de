# SPDX-License-Identifier: GPL-2.0-or-later
"""The input monitor: keeps the kernel told which devices there are, and which keys are held."""

from __future__ import annotations

import errno
import logging
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from scx_gamer.input.acts import ABS_AXES, Source, dead_permille
from scx_gamer.input.classify import Lane
from scx_gamer.input.devices import (
    DEV,
    SYSFS,
    DeviceInfo,
    overrides_of,
    read_capabilities,
    read_device,
    scan_devices,
)
from scx_gamer.input.held import Held
from scx_gamer.input.hotplug import Hotplug
from scx_gamer.input.listener import ControlFeed, Device, Listener, MonitorLoop
from scx_gamer.input.reader import Reader
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.loop import NO_TIMER

log = logging.getLogger(__name__)

# Work that is counted, here and by the listener.
_COUNTERS = (
    *("added", "removed", "polls", "resyncs", "floods", "errors", "missed"),
    *("wakeups", "events", "messages"),
)
_REST = struct.Struct(f"{ABS_AXES}i")
_SAMPLE_MIN_NS, _SAMPLE_MAX_NS = 1_900_000_000, 5_000_000_000  # span of a device's rate


def _key(slot: int) -> bytes:
    return slot.to_bytes(4, sys.byteorder)


class InputError(ScxGamerError):
    """The monitor cannot listen: `what` failed with `errno`, and `hint` says what to do."""

    separator = "; "

    def __init__(self, what: str, number: int, hint: str) -> None:
        super().__init__(f"{what}: {errno.errorcode.get(number, number)}", number, hint)


class MonitorAbi(Protocol):
    """The part of abi.h that input needs."""

    @property
    def constants(self) -> Any: ...

    def pack(self, name: str, **fields: int) -> bytes: ...

    def unpack(self, name: str, data: Any) -> Mapping[str, Any]: ...


class InputMonitor:
    """Owns the open nodes, the entries of the `devices` map, and the hotplug monitor.

    On the kernel path no event wakes the supervisor: the hook opens the windows, and nodes are open only to ask which
    keys are held. On the evdev path the listener reads the events.

    Opening a node has effects: a Steam Controller leaves its desktop mode, a Wii Remote begins to stream, a USB pad is
    polled and stays awake. So none is open without a game. With one, keyboards, mice and touch surfaces are, as every
    compositor has them open; on the kernel path a controller only once it was used.
    """

    def __init__(
        self,
        loop: MonitorLoop,
        feed: ControlFeed,
        maps: Mapping[str, Any],
        abi: MonitorAbi,
        *,
        kernel_path: bool,
        missed: Callable[[], int] = lambda: 0,
        lanes: Mapping[str, str] = MappingProxyType({}),
        sysfs: Path = SYSFS,
        dev: Path = DEV,
    ) -> None:
        self._loop = loop
        self._feed = feed
        self._map = maps["devices"]
        self._slot_map = maps["device_slots"]
        self._axes = maps["axes"]
        self._maps = maps
        self._abi = abi
        self._kernel_path = kernel_path
        self._missed, self._missed_seen = missed, 0  # events that the hook did not run for
        self._overrides = overrides_of(lanes)
        self._sysfs = sysfs
        self._dev = dev
        constants = abi.constants
        self._lanes = {lane: int(constants[f"SCXG_LANE_{lane.name}"]) for lane in Lane}
        self._boost = {
            self._lanes[lane]: int(constants[f"SCXG_TUN_BOOST_{lane.name}_MS"])
            for lane in Lane
            if lane is not Lane.NONE
        }
        self._pads = self._lanes[Lane.GAMEPAD]
        self._poll_s = int(constants["SCXG_HELD_POLL_MS"]) / 1000
        self._watch_s = 0.75 * int(constants["SCXG_HELD_LEASE_MS"]) / 1000
        self._held_keys = int(constants["SCXG_HELD_KEYS"])
        self._held_axes = int(constants["SCXG_HELD_AXES"])
        self._held_bits = int(constants["SCXG_HELD_BITS"])
        self._max_devices = int(constants["SCXG_MAX_DEVICES"])
        self._name_len = int(constants["SCXG_INPUT_NAME_LEN"])
        self._devices: dict[int, Device] = {}
        self._present: set[int] = set()  # with those that nobody listens to
        self._active: set[int] = set()
        self._game = False
        self._timer = NO_TIMER
        self._windows: Any = None
        self._tunables: Any = None
        self._control: Any = None
        self._listener: Listener | None = None
        self._stack = ExitStack()
        self.counters: Counter[str] = Counter(dict.fromkeys(_COUNTERS, 0))

    @property
    def path(self) -> str:
        """The path that opens the windows: "kernel" or "evdev"."""
        return "kernel" if self._kernel_path else "evdev"

    def start(self) -> None:
        """Listen to every device there is and to every one that comes; raises InputError."""
        with ExitStack() as stack:
            try:
                windows = stack.enter_context(self._maps["windows"].mapped("scxg_windows"))
                tunables = stack.enter_context(self._maps["tunables"].mapped("scxg_tunables"))
                control = stack.enter_context(self._maps["control"].mapped("scxg_control"))
                self._windows, self._tunables = windows[0], tunables[0]
                self._control = control[0]
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
        self._timer.cancel()
        self._active.clear()
        with ExitStack() as all_of_them:  # one that fails does not keep the others
            for number in list(self._devices):
                all_of_them.callback(self._drop, number)

    # ---- devices that come and go ----------------------------------------------------------------

    def _rescan(self) -> None:
        present = {
            info.number: info for info in scan_devices(self._sysfs, self._dev, self._overrides)
        }
        self._present = set(present)
        for number in [number for number in self._devices if number not in present]:
            self._drop(number)
        for info in present.values():
            self._add(info)

    def _on_added(self, name: str) -> None:
        info = read_device(self._sysfs, name, self._dev, self._overrides)
        if info is not None:  # else it is gone again
            self._present.add(info.number)
            self._add(info)

    def _on_removed(self, name: str) -> None:
        if name.removeprefix("input").isdecimal():
            number = int(name.removeprefix("input"))
            self._present.discard(number)
            self._drop(number)

    def set_lanes(self, lanes: Mapping[str, str]) -> None:
        """Take the administrator's lanes of devices, and apply what changed."""
        overrides = overrides_of(lanes)
        if overrides == self._overrides:
            return
        self._overrides = overrides
        for info in scan_devices(self._sysfs, self._dev, overrides):
            device = self._devices.get(info.number)
            if device is not None and device.info.lanes != info.lanes:
                self._drop(info.number)
        self._rescan()

    def set_game(self, active: bool) -> None:
        """Open the nodes whose state a game needs, or close them all."""
        if active == self._game:
            return
        self._game = active
        for device in list(self._devices.values()):
            if not active:
                self._close_node(device)
            elif self._opens_with_game(device):
                self._open_node(device)
            else:
                device.acts = self._entry(device).get("acts", 0)
        if active:
            self.resync()

    def _opens_with_game(self, device: Device) -> bool:
        return not self._kernel_path or self._pads not in device.lanes

    def _add(self, info: DeviceInfo) -> None:
        if not info.lanes.each() or info.event is None or info.number in self._devices:
            return
        if len(self._devices) >= self._max_devices:
            self._count_error("too many input devices, ignoring", info, errno.ENOSPC)
            return
        lanes = tuple(self._lanes[getattr(info.lanes, source.name.lower())] for source in Source)
        taken = {device.slot for device in self._devices.values()}
        slot = next(n for n in range(self._max_devices) if n not in taken)
        device = Device(replace(info, path=self.path), lanes, slot)
        fields = {f"lane_{source.name.lower()}": lanes[source] for source in Source}
        fields["dead_permille"] = dead_permille(info.kind, info.lanes.abs)
        self._map.update(_key(slot), self._abi.pack("scxg_device", **fields))
        self._slot_map.update(self._name(info.number), _key(slot))
        self._changed()
        self._devices[info.number] = device
        self.counters["added"] += 1
        log.info("input%d %s: %s, %s lane", info.number, info.name, info.kind, info.lane)
        if self._game and self._opens_with_game(device):
            self._open_node(device)
        # Keys may be down from before we looked, and a lane may be watched already.
        for lane in sorted(set(lanes) & self._boost.keys()):
            if lane in self._active:
                self.poll_device(device)
            self.on_window(lane)

    def _open_node(self, device: Device) -> None:
        """Open the device's node; without it the kernel path still opens its windows, but held keys go unseen."""
        info = device.info
        if device.reader is not None or self._listener is None or info.event is None:
            return
        try:
            caps = read_capabilities(f"{self._sysfs}/input{info.number}")
            device.reader = Reader(info.event, info.kind, caps, info.lanes.abs)
            device.reader.note_rest(self._noted_rest(device))
            self._listener.add(device)
        except OSError as err:
            self._listener.remove(device)
            if err.errno not in (errno.ENODEV, errno.ENXIO, errno.ENOENT):  # unplugged already
                self._count_error("cannot open", info, err.errno or 0)

    def _noted_rest(self, device: Device) -> dict[int, int]:
        """Return where a device's axes were before their first motion: the hook noted it, first in `struct axes`."""
        if not self._entry(device).get("noted"):
            return {}
        return dict(enumerate(_REST.unpack_from(self._axes.lookup(_key(device.slot)))))

    def _name(self, number: int) -> bytes:
        return f"input{number}".encode().ljust(self._name_len, b"\0")

    def _changed(self) -> None:
        """Have the hook look devices up anew."""
        self._control.set("devices_epoch", self._control.get("devices_epoch") + 1)

    def _close_node(self, device: Device) -> None:
        if self._listener is not None:
            self._listener.remove(device)
        if device.held:
            self._send_held(device, 0)

    def _drop(self, number: int) -> None:
        device = self._devices.pop(number, None)
        if device is None:
            return
        with ExitStack() as last:  # whatever fails before, the descriptor goes
            if self._listener is not None:
                last.callback(self._listener.remove, device)
            # The kernel may know of a key that no poll has seen. While the map still has the device: a
            # message about one that it does not know is refused.
            self._send_held(device, 0)
            self._feed.flush()
            self._slot_map.delete(self._name(number))
            self._map.update(_key(device.slot), self._abi.pack("scxg_device"))
            self._changed()
        self.counters["removed"] += 1
        log.info("input%d %s: gone", number, device.info.name)

    def _count_error(self, what: str, info: DeviceInfo, number: int) -> None:
        self.counters["errors"] += 1
        log.warning(
            "%s input%d %s: %s", what, info.number, info.name, errno.errorcode.get(number, number)
        )

    def failed(self, device: Device, err: OSError) -> None:
        """Drop a device that is no longer readable."""
        # ENODEV is how an unplug looks before its uevent: without this the fd would spin.
        if err.errno != errno.ENODEV:
            self._count_error("lost", device.info, err.errno or 0)
        self._drop(device.info.number)

    # ---- held keys and sticks --------------------------------------------------------------------

    def on_window(self, lane: int) -> None:
        """Watch the keys of a lane from its opening until it is closed again, while a game runs."""
        if not self._game or lane in self._active or lane not in self._boost:
            return
        self._active.add(lane)
        self._poll_lane(lane)
        self._arm(self._poll_s)

    def _arm(self, delay_s: float) -> None:
        if not self._timer.pending:
            self._timer = self._loop.call_later(delay_s, self._tick, name="held keys")

    def resync(self) -> None:
        """Ask every device for its keys now, as after a resume from suspend."""
        self.counters["resyncs"] += 1
        for lane in self._boost:
            self._active.discard(lane)
            self.on_window(lane)

    def _ask_for_missed(self) -> None:
        """Ask all devices if the hook missed events: it does not run for one amid another's on the same CPU."""
        if not self._kernel_path:
            return  # no hook
        missed = self._missed()
        if missed != self._missed_seen:
            self.counters["missed"] += missed - self._missed_seen
            self._missed_seen = missed
            self.resync()

    def _tick(self) -> None:
        if not self._game:
            self._active.clear()
            return
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
        """Return True if the lane's devices must be asked.

        On the kernel path a press gives its lane a lease at once. While there is none and no
        stick, there is nothing to ask, and looking once within a lease is enough to renew the next
        one: that is what a mouse in motion costs. A controller whose node is still closed was used
        while its lane was open already: its node is opened now.
        """
        if not self._kernel_path or now_ns < held_until_ns:
            return True
        return any(
            device.held or (self._used(device) if device.reader is None else device.reader.has_axes)
            for device in self._devices.values()
            if lane in device.lanes
        )

    def _poll_lane(self, lane: int) -> bool:
        """Renew the lane's held devices; return True if any holds it."""
        held = False
        for device in [device for device in self._devices.values() if lane in device.lanes]:
            if device.reader is None and self._used(device):
                self._open_node(device)
            self.poll_device(device)
            held |= self._holds(device, lane)
        self._sample_lane(lane, time.monotonic_ns())
        return held

    def _used(self, device: Device) -> bool:
        """Return True if the kernel saw a closed device act since the game began."""
        return self._kernel_path and self._entry(device).get("acts", 0) > device.acts

    def _entry(self, device: Device) -> dict[str, int]:
        """Return the device's entry of the map; empty when it is gone."""
        data = self._map.lookup(_key(device.slot))
        return {} if data is None else dict(self._abi.unpack("scxg_device", data))

    def _holds(self, device: Device, lane: int) -> bool:
        return bool(device.held >> lane * self._held_bits & (1 << self._held_bits) - 1)

    def poll_device(self, device: Device) -> bool:
        """Tell the kernel what of the device is held now; return True if anything is."""
        if device.reader is None:
            return False
        self.counters["polls"] += 1
        try:
            held = self._by_lane(device, device.reader.held(time.monotonic_ns()))
        except OSError as err:
            self.failed(device, err)
            return False
        if held or device.held:
            self._send_held(device, held)
        return bool(device.held)

    def _by_lane(self, device: Device, held: Held) -> int:
        """Return enum scxg_held by lane: a key holds the lane of keys, a stick that of axes."""
        parts = (
            (held.keys, Source.KEY, self._held_keys),
            (held.buttons, Source.BUTTON, self._held_keys),
            (held.axes, Source.ABS, self._held_axes),
        )
        value = 0
        for is_held, source, bit in parts:
            lane = device.lanes[source]
            if is_held and lane in self._boost:
                value |= bit << lane * self._held_bits
        return value

    def _send_held(self, device: Device, value: int) -> None:
        # A release that found the ring full stays marked as held and is told again.
        if self._feed.send("HELD", index=device.slot, value=value):
            device.held = value

    def _sample_lane(self, lane: int, now_ns: int) -> None:
        """Update the rates of the lane's devices over two seconds or more, from the kernel's counters.

        Not on the evdev path: motion is masked there most of the time.
        """
        if not self._kernel_path:
            return
        for device in self._devices.values():
            elapsed_ns = now_ns - device.sampled_ns
            if lane not in device.lanes or elapsed_ns < _SAMPLE_MIN_NS:
                continue
            reports = self._entry(device).get("reports")
            if reports is None:
                continue
            if reports > device.reports and elapsed_ns < _SAMPLE_MAX_NS:
                device.rate_hz = round((reports - device.reports) * 1e9 / elapsed_ns, 1)
            device.reports, device.sampled_ns = reports, now_ns

    # ---- what others see -------------------------------------------------------------------------

    def devices(self) -> list[DeviceInfo]:
        """Return every input device; those listened to with path, last rate, and whether a reader grabbed them."""
        for lane in self._boost:  # without a game nobody else does
            self._sample_lane(lane, time.monotonic_ns())
        found = []
        for info in scan_devices(self._sysfs, self._dev, self._overrides):
            device = self._devices.get(info.number)
            if device is not None:
                grabbed = bool(self._entry(device).get("grabbed")) if self._kernel_path else None
                info = replace(info, path=self.path, rate_hz=device.rate_hz, grabbed=grabbed)
            found.append(info)
        return found

    @property
    def present(self) -> int:
        """The number of input devices, without reading sysfs."""
        return len(self._present)

    def lanes(self) -> dict[str, int]:
        """Return the number of devices listened to, by lane."""
        return dict(Counter(str(device.info.lane) for device in self._devices.values()))

    def held(self) -> list[int]:
        """Return the numbers of the devices with a key down or a stick off its rest."""
        return sorted(number for number, device in self._devices.items() if device.held)
