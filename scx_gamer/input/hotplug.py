# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that come and go, as udev (or the kernel itself, where udevd does not run) tells it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger(__name__)

UDEV_CONTROL = Path("/run/udev/control")
MAX_EVENTS = 256  # uevents in one pass of the loop


class FdLoop(Protocol):
    """The part of the loop that a source uses."""

    def add_fd(
        self, fd: int, callback: Callable[[int], None], *, name: str, urgent: bool = False
    ) -> None: ...

    def remove_fd(self, fd: int) -> None: ...


class Hotplug:
    """Calls `added(inputN)`, `removed(inputN)`; `lost()` when uevents were lost: scan again."""

    def __init__(
        self,
        loop: FdLoop,
        added: Callable[[str], None],
        removed: Callable[[str], None],
        lost: Callable[[], None],
    ) -> None:
        import pyudev  # 32 ms, and only a running supervisor listens

        # udevd's announcements come after its rules ran; without it the kernel's own must do.
        self.source = "udev" if UDEV_CONTROL.exists() else "kernel"
        monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source=self.source)
        monitor.filter_by("input")
        monitor.start()
        loop.add_fd(monitor.fileno(), self._on_ready, name="hotplug")
        self._loop = loop
        self._added = added
        self._removed = removed
        self._lost = lost
        self._monitor: Any = monitor

    def _on_ready(self, _fd: int) -> None:
        try:
            for _ in range(MAX_EVENTS):
                device = None if self._monitor is None else self._monitor.poll(0)
                if device is None:
                    return
                self._dispatch(str(device.action), Path(str(device.sys_path)))
        except OSError as err:
            # ENOBUFS: more uevents than the socket holds
            log.warning("uevents lost (%s), scanning the input devices again", err.strerror)
            self._lost()

    def _dispatch(self, action: str, path: Path) -> None:
        # Of inputN and its children the eventM child alone says that the node is there.
        if not path.name.startswith("event") or not path.parent.name.startswith("input"):
            return
        if action == "add":
            self._added(path.parent.name)
        elif action == "remove":
            self._removed(path.parent.name)

    def close(self) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            self._loop.remove_fd(monitor.fileno())
            del monitor  # the last reference: pyudev closes the socket
