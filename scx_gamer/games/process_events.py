# SPDX-License-Identifier: GPL-2.0-or-later
"""Process events without BPF hooks: the proc connector, else polling. Opens of a GPU, which no hook tells."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from scx_gamer.system.inotify import DELETE_SELF, ISDIR, ONLYDIR, OPEN, Inotify
from scx_gamer.system.loop import NO_TIMER, Loop

POLL_S = 1.0
_YOUNG_POLLS = 3  # a process that forked before a poll may exec after it
_READS = 256  # messages taken in one pass

_NETLINK_CONNECTOR = 11
_CN_IDX_PROC = 1
_LISTEN, _IGNORE = 1, 2
_FORK, _EXEC, _COMM, _EXIT = 0x1, 0x2, 0x200, 0x80000000
_NLMSG_DONE = 3
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_CN = struct.Struct("=IIIIHH")  # cn_msg
_EVENT = struct.Struct("=IIQ")  # what, cpu, time: the head of proc_event
_PIDS = struct.Struct("=IIII")
_RECEIVE_BYTES = 4 << 20


class Events(Protocol):
    """Receiver of the events. Times are CLOCK_MONOTONIC nanoseconds."""

    def exec_seen(self, pid: int, time_ns: int) -> None: ...
    def fork_seen(self, parent: int, child: int) -> None: ...
    def exit_seen(self, pid: int) -> None: ...
    def events_lost(self) -> None: ...


def decode(data: bytes) -> list[tuple[str, int, int, int]]:
    """One datagram of the connector → (kind, pid, parent, time); what is none of ours or torn is left out."""
    found: list[tuple[str, int, int, int]] = []
    at = 0
    while at + _HEADER.size <= len(data):
        length = _HEADER.unpack_from(data, at)[0]
        body = at + _HEADER.size + _CN.size
        if length < _HEADER.size or body + _EVENT.size + _PIDS.size > min(at + length, len(data)):
            break
        what, _cpu, time_ns = _EVENT.unpack_from(data, body)
        one, two, three, four = _PIDS.unpack_from(data, body + _EVENT.size)
        if what == _FORK and three == four:  # child's pid and tgid: else it is a thread
            found.append(("fork", four, two, time_ns))
        elif what == _EXEC:
            found.append(("exec", two, 0, time_ns))
        elif what == _EXIT and one == two:
            found.append(("exit", two, 0, time_ns))
        elif what == _COMM and one == two:
            found.append(("exec", two, 0, 0))  # a new name: looked at as after an exec
        at += (length + 3) & ~3
    return found


def connector_problem() -> str:
    """Return the reason why the proc connector is unavailable; empty if it is available."""
    with Loop() as loop:
        try:
            ProcConnector(loop, _Nobody()).close()
        except OSError as err:
            return err.strerror or str(err)
    return ""


class _Nobody:
    """Hears events and does nothing."""

    def exec_seen(self, pid: int, time_ns: int) -> None: ...
    def fork_seen(self, parent: int, child: int) -> None: ...
    def exit_seen(self, pid: int) -> None: ...
    def events_lost(self) -> None: ...


class ProcConnector:
    """The kernel's proc connector: every fork, exec and exit. Raises OSError where it cannot be had."""

    def __init__(self, loop: Loop, events: Events) -> None:
        self._loop = loop
        self._events = events
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        sock = socket.socket(socket.AF_NETLINK, kind, _NETLINK_CONNECTOR)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            sock.bind((0, _CN_IDX_PROC))
            self._tell(sock, _LISTEN)
            loop.add_fd(sock.fileno(), self._on_readable, name="proc connector")
        except BaseException:
            sock.close()
            raise
        self._sock: socket.socket | None = sock

    @staticmethod
    def _tell(sock: socket.socket, operation: int) -> None:
        payload = struct.pack("=I", operation)
        message = _CN.pack(_CN_IDX_PROC, 1, 0, 0, len(payload), 0) + payload
        length = _HEADER.size + len(message)
        sock.send(_HEADER.pack(length, _NLMSG_DONE, 0, 0, os.getpid()) + message)

    def _on_readable(self, _fd: int) -> None:
        if self._sock is None:
            return
        for _ in range(_READS):
            try:
                data = self._sock.recv(8192)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: the kernel had more to say than room
                self._events.events_lost()
                return
            deliver(decode(data), self._events)

    def close(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_fd(sock.fileno())
            sock.close()


def deliver(found: list[tuple[str, int, int, int]], events: Events) -> None:
    for kind, pid, parent, time_ns in found:
        if kind == "exec":
            events.exec_seen(pid, time_ns)
        elif kind == "fork":
            events.fork_seen(parent, pid)
        else:
            events.exit_seen(pid)


class GpuOpens:
    """Calls back when a device node of a GPU is opened, at most once in `QUIET_S`; nothing says by which process.

    Where something opens one again and again, as a monitor does, the time doubles up to `QUIET_MAX_S`. The folder is
    watched, not the nodes: those the unit may not read. Where there is no folder, nothing is told.
    """

    QUIET_S, QUIET_MAX_S = 3.0, 30.0

    def __init__(
        self, loop: Loop, call: Callable[[], None], folder: Path = Path("/dev/dri")
    ) -> None:
        self._loop = loop
        self._call = call
        self._folder = folder
        self._inotify: Inotify | None = None
        self._timer = NO_TIMER
        self._quiet_s = self.QUIET_S
        self._rested_ns = 0

    def watch(self) -> None:
        """Begin, or go on after the folder was made anew: a driver may be loaded at any time."""
        try:
            if self._inotify is None:
                self._inotify = Inotify()
                self._loop.add_fd(self._inotify.fileno(), self._opened, name="opens of a GPU")
            self._inotify.add(self._folder, OPEN | DELETE_SELF | ONLYDIR)
        except OSError:
            pass

    def _opened(self, fd: int) -> None:
        """Rest for a while: events of the same node are one until they are read."""
        if not self._read():
            return
        self._loop.remove_fd(fd)
        again = self._loop.now_ns() - self._rested_ns < self.QUIET_S * 1e9
        self._quiet_s = min(2 * self._quiet_s, self.QUIET_MAX_S) if again else self.QUIET_S
        self._timer = self._loop.call_later(self._quiet_s, self._rested, name="opens of a GPU")
        self._call()

    def _rested(self) -> None:
        self._rested_ns = self._loop.now_ns()
        if self._inotify is not None:
            self._loop.add_fd(self._inotify.fileno(), self._opened, name="opens of a GPU")

    def _read(self) -> bool:
        """Take what is there; return True if a node was opened, and not just the folder listed."""
        opened = False
        try:
            while self._inotify is not None:
                opened |= any(event.mask & (OPEN | ISDIR) == OPEN for event in self._inotify.read())
        except OSError:  # nothing is left
            pass
        return opened

    def close(self) -> None:
        inotify, self._inotify = self._inotify, None
        if inotify is None:
            return
        if self._timer.pending:
            self._timer.cancel()
        else:
            self._loop.remove_fd(inotify.fileno())
        inotify.close()


class Poll:
    """The last resort: look every second who is new and who is gone."""

    def __init__(
        self,
        loop: Loop,
        events: Events,
        pids: Callable[[], Iterable[int]],
        period_s: float = POLL_S,
    ) -> None:
        self._loop = loop
        self._events = events
        self._pids = pids
        self._period_s = period_s
        self._known: dict[int, int] = dict.fromkeys(pids(), _YOUNG_POLLS)
        self._arm()

    def _arm(self) -> None:
        self._timer = self._loop.call_later(self._period_s, self._look, name="process poll")

    def _look(self) -> None:
        now = set(self._pids())
        for pid in self._known.keys() - now:
            del self._known[pid]
            self._events.exit_seen(pid)
        for pid in now:
            age = self._known.get(pid, 0)
            if age < _YOUNG_POLLS:
                self._known[pid] = age + 1
                self._events.exec_seen(pid, 0)
        self._arm()

    def close(self) -> None:
        self._timer.cancel()
