# SPDX-License-Identifier: GPL-2.0-only
"""Which cgroups are limited, and for whom: by cgroup id, each held by processes until the last is gone."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scx_gamer.config.network import Limit
from scx_gamer.libbpf import BpfError
from scx_gamer.netlimit.cgroups import Member
from scx_gamer.netlimit.errors import NetError
from scx_gamer.system.loop import Loop
from scx_gamer.system.procfs import start_of
from scx_gamer.system.text import printable

log = logging.getLogger(__name__)

_MAX_HOLDS = 64  # of one cgroup: more would only tell the same end again
COUNTERS = ("bytes", "packets", "dropped_bytes", "dropped_packets", "exempt_bytes")
LANES = {"up": 0, "down": 1}  # SCXG_NET_UP, SCXG_NET_DOWN: checked against abi.h by a test
NO_TRAFFIC = {(lane, name): 0 for lane in LANES for name in COUNTERS}


class Slot(Protocol):
    """A slot of the kernel's, as StructView has it."""

    def get(self, path: str) -> int: ...

    def set(self, path: str, value: int) -> None: ...


class Attached(Protocol):
    """Our programs on one cgroup, as Attachment has it."""

    def use_slot(self, number: int) -> None: ...

    def watch_sockets(self) -> None: ...

    def close(self) -> None: ...

    def remaining(self) -> list[int]: ...


class Kernel(Protocol):
    """The part of Programs that is needed here."""

    task_error: str

    @property
    def slot_count(self) -> int: ...

    def slot(self, number: int) -> Slot: ...

    def attach(self, folder_fd: int, cgroup: int) -> Attached: ...

    def detach_all(self, cgroup: int) -> None: ...

    def name_task(self, tgid: int, serial: int) -> None: ...

    def forget_task(self, tgid: int, *, alive: bool) -> None: ...


@dataclass(frozen=True)
class Holder:
    """One process for one wish."""

    wish: str
    pid: int
    start: int


@dataclass
class Hold:
    limit: Limit
    pidfd: int


@dataclass
class Entry:
    """One limited cgroup."""

    cgroup: int
    path: str
    folder_fd: int
    slot: int
    serial: int
    attachment: Attached
    holds: dict[Holder, Hold] = field(default_factory=dict)
    limit: Limit | None = None


@dataclass
class Orphan:
    """A cgroup that the kernel did not let go of; its slot stays taken and limits nothing."""

    cgroup: int
    path: str
    folder_fd: int
    slot: int
    attachment: Attached


def smallest(limits: list[Limit]) -> Limit:
    """What is left when all of them count."""

    def least(values: list[int]) -> int:
        return min((value for value in values if value), default=0)

    return Limit(
        least([limit.down for limit in limits]),
        least([limit.up for limit in limits]),
        "all" if any(limit.scope == "all" for limit in limits) else "internet",
        "cgroup" if any(limit.kind == "cgroup" for limit in limits) else "task",
    )


class Registry:
    """`last_gone(wish)` is called when an entry's last process ended: it may hold others in its place."""

    def __init__(
        self,
        loop: Loop,
        kernel: Kernel,
        mount: Path,
        last_gone: Callable[[str], None],
        proc: Path = Path("/proc"),
    ) -> None:
        self._loop, self._kernel, self._mount, self._proc = loop, kernel, mount, proc
        self._last_gone = last_gone
        self._free = list(range(kernel.slot_count - 1, 0, -1))
        self._serial = 0
        self.entries: dict[int, Entry] = {}
        self.orphans: dict[int, Orphan] = {}
        self.orphaned = 0
        self._ended = dict(NO_TRAFFIC)
        self._counting = threading.Lock()  # an entry is in entries or in the sums, never in both

    # ---- holding -------------------------------------------------------------------------------

    def hold(self, member: Member, wish: str, limit: Limit) -> Entry | None:
        """Limit the member's cgroup for as long as the process lives; None when it is gone already.

        Raises NetError; nothing is held then that was not held before.
        """
        if limit.kind == "task" and self._kernel.task_error:
            raise NetError(f"single processes cannot be limited: {self._kernel.task_error}")
        start = start_of(member.pid, self._proc)
        if start is None:
            return None
        holder = Holder(wish, member.pid, start)
        with ExitStack() as stack:
            entry = self._entry(member.path, stack)
            if entry is None:
                return None
            known = entry.holds.get(holder)
            if known is None:
                if len(entry.holds) >= _MAX_HOLDS and limit.kind == "cgroup":
                    return entry
                pidfd = self._pidfd(member.pid, start, stack)
                if pidfd is None:
                    return None
                cgroup = entry.cgroup
                self._loop.add_fd(
                    pidfd, lambda _fd: self._on_gone(cgroup, holder), name=f"limited {member.pid}"
                )
                stack.callback(self._loop.remove_fd, pidfd)
                if limit.kind == "task":
                    self._name(entry, member.pid, stack)
                entry.holds[holder] = Hold(limit, pidfd)
            elif known.limit == limit:
                return entry
            else:
                if limit.kind == "task" and known.limit.kind != "task":
                    self._name(entry, member.pid, stack)
                before, known.limit = known.limit, limit
                if before.kind == "task" and limit.kind != "task":
                    self._unname(member.pid, alive=True)
            self._settle(entry)
            stack.pop_all()
        return entry

    def _entry(self, path: str, stack: ExitStack) -> Entry | None:
        """The cgroup's entry, a new one undone by `stack`; None when the cgroup is gone."""
        folder = self._mount / path.lstrip("/")
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise NetError(f"cannot open {folder}: {err.strerror}", err.errno or 0) from err
        with ExitStack() as made:
            made.callback(os.close, fd)
            cgroup = os.fstat(fd).st_ino
            if cgroup in self.entries:
                return self.entries[cgroup]
            if cgroup in self.orphans:
                raise NetError(f"{path} still has programs of an older limit")
            if not self._free:
                raise NetError(f"{self._kernel.slot_count - 1} cgroups are limited already")
            self._serial += 1
            number = self._free[-1]
            slot = self._kernel.slot(number)
            for lane in LANES.values():
                for name in ("rate", "free_ns", *COUNTERS):
                    slot.set(f"lane[{lane}].{name}", 0)
            slot.set("serial", self._serial)
            try:
                attachment = self._kernel.attach(fd, cgroup)
                made.callback(attachment.close)
                attachment.use_slot(number)
            except BpfError as err:
                raise NetError(f"{path} cannot be limited: {err}", err.errno) from err
            self._free.pop()
            entry = Entry(cgroup, path, fd, number, self._serial, attachment)
            self.entries[cgroup] = entry
            made.pop_all()
        stack.callback(self._detach, entry)
        return entry

    def _pidfd(self, pid: int, start: int, stack: ExitStack) -> int | None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        except OSError as err:
            raise NetError(f"cannot watch process {pid}: {err.strerror}", err.errno or 0) from err
        stack.callback(os.close, pidfd)
        # read again now that the number cannot be given to another
        return pidfd if start_of(pid, self._proc) == start else None

    def _name(self, entry: Entry, pid: int, stack: ExitStack) -> None:
        stack.callback(self._unname, pid, alive=True)
        try:
            entry.attachment.watch_sockets()
            self._kernel.name_task(pid, entry.serial)
        except BpfError as err:
            raise NetError(f"process {pid} cannot be limited: {err}", err.errno) from err

    def _settle(self, entry: Entry) -> None:
        """Write the smallest limit of the holders where it differs; what was owed is forgiven."""
        limit = smallest([hold.limit for hold in entry.holds.values()])
        if limit == entry.limit:
            return
        slot = self._kernel.slot(entry.slot)
        slot.set("scope", int(limit.scope == "all"))
        slot.set("kind", int(limit.kind == "task"))
        for name, rate in (("up", limit.up), ("down", limit.down)):
            lane = LANES[name]
            if slot.get(f"lane[{lane}].rate") != rate:
                slot.set(f"lane[{lane}].rate", rate)
                slot.set(f"lane[{lane}].free_ns", 0)
        entry.limit = limit

    # ---- letting go ----------------------------------------------------------------------------

    def _on_gone(self, cgroup: int, holder: Holder) -> None:
        entry = self.entries.get(cgroup)
        if entry is None or holder not in entry.holds:
            return
        self._drop(entry, holder, alive=False)
        if not entry.holds:
            self._last_gone(holder.wish)
        self._finish(entry)

    def _drop(self, entry: Entry, holder: Holder, *, alive: bool) -> None:
        hold = entry.holds.pop(holder)
        self._loop.remove_fd(hold.pidfd)
        os.close(hold.pidfd)
        if hold.limit.kind == "task":
            self._unname(holder.pid, alive=alive)

    def _unname(self, pid: int, *, alive: bool) -> None:
        """Charge a process's sockets to another limit that names it, to none if there is none."""
        serials = (
            entry.serial
            for entry in self.entries.values()
            for holder, hold in entry.holds.items()
            if holder.pid == pid and hold.limit.kind == "task"
        )
        serial = next(serials, None)
        try:
            if serial is None or not alive:
                self._kernel.forget_task(pid, alive=alive)
            else:
                self._kernel.name_task(pid, serial)
        except BpfError as err:
            # its tags name a serial that no limit has any more
            log.debug("sockets of process %d keep their tag: %s", pid, err)

    def _finish(self, entry: Entry) -> None:
        if entry.holds:
            self._settle(entry)
        elif self.entries.get(entry.cgroup) is entry:
            self._detach(entry)

    def release(self, wish: str) -> int:
        """End a wish's holds; of how many processes."""
        count = 0
        for entry in list(self.entries.values()):
            for holder in [holder for holder in entry.holds if holder.wish == wish]:
                self._drop(entry, holder, alive=True)
                count += 1
            self._finish(entry)
        return count

    def release_entry(self, entry: Entry) -> None:
        """End a limit as a whole."""
        for holder in list(entry.holds):
            self._drop(entry, holder, alive=True)
        self._finish(entry)

    def _detach(self, entry: Entry) -> None:
        """Close the links, ask whether they are gone, then forget the entry."""
        for lane in LANES.values():
            self._kernel.slot(entry.slot).set(f"lane[{lane}].rate", 0)
        with self._counting:
            self.entries.pop(entry.cgroup, None)
            for key, value in self._counts(entry.slot).items():
                self._ended[key] += value
        try:
            entry.attachment.use_slot(0)
        except BpfError as err:
            log.debug("%s: its storage is gone: %s", entry.path, err)
        try:
            entry.attachment.close()
        except BpfError as err:
            log.warning("%s: %s", printable(entry.path), err)
        orphan = Orphan(entry.cgroup, entry.path, entry.folder_fd, entry.slot, entry.attachment)
        if self._let_go(orphan):
            return
        self.orphans[entry.cgroup] = orphan
        self.orphaned += 1
        log.warning("%s: the kernel still runs our programs there", printable(entry.path))

    def _let_go(self, orphan: Orphan) -> bool:
        """Whether nothing of ours is left on the cgroup; then its slot and folder are free."""
        try:
            if orphan.attachment.remaining():
                self._kernel.detach_all(orphan.cgroup)
                if orphan.attachment.remaining():
                    return False
        except BpfError as err:
            if not _gone(orphan.folder_fd):
                log.debug("%s cannot be asked: %s", orphan.path, err)
                return False
        os.close(orphan.folder_fd)
        self._free.append(orphan.slot)
        return True

    def check(self) -> None:
        """Forget cgroups that are gone, try orphans again."""
        for entry in [e for e in self.entries.values() if _gone(e.folder_fd)]:
            log.info("%s is gone", printable(entry.path))
            self.release_entry(entry)
        for cgroup in [number for number, orphan in self.orphans.items() if self._let_go(orphan)]:
            del self.orphans[cgroup]

    # ---- looking -------------------------------------------------------------------------------

    def _counts(self, slot: int) -> dict[tuple[str, str], int]:
        view = self._kernel.slot(slot)
        return {(lane, name): view.get(f"lane[{LANES[lane]}].{name}") for lane, name in self._ended}

    def counts(self, entry: Entry) -> dict[tuple[str, str], int]:
        """Counters of one limit by direction and name."""
        return self._counts(entry.slot)

    def totals(self) -> dict[tuple[str, str], int]:
        """Counters of all limits, ended ones included. Any thread may ask."""
        with self._counting:
            sums = dict(self._ended)
            for entry in self.entries.values():
                for key, value in self._counts(entry.slot).items():
                    sums[key] += value
        return sums

    def held(self, wish: str) -> int:
        """Processes held for a wish."""
        return sum(h.wish == wish for entry in self.entries.values() for h in entry.holds)

    def close(self) -> None:
        for entry in list(self.entries.values()):
            self.release_entry(entry)
        for orphan in self.orphans.values():
            os.close(orphan.folder_fd)
        self.orphans.clear()


def _gone(folder_fd: int) -> bool:
    """Whether a cgroup was removed under its open folder."""
    try:
        os.close(os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder_fd))
    except OSError:
        return True
    return False
