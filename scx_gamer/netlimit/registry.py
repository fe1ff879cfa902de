# SPDX-License-Identifier: GPL-2.0-or-later
"""The limited cgroups by cgroup id. A limit lasts until the last process that it was requested for has ended."""

from __future__ import annotations

import logging
import os
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

_MAX_HOLDS = 64  # processes watched for one cgroup; its limit ends with the last of these
COUNTERS = ("bytes", "packets", "dropped_bytes", "dropped_packets", "exempt_bytes")
LANES = {"up": 0, "down": 1}  # SCXG_NET_UP, SCXG_NET_DOWN: checked against abi.h by a test
NO_TRAFFIC = {(lane, name): 0 for lane in LANES for name in COUNTERS}


class Slot(Protocol):
    """The interface of a slot in the BPF map, which StructView implements."""

    def get(self, path: str) -> int: ...

    def set(self, path: str, value: int) -> None: ...


class Attached(Protocol):
    """The interface of our programs on one cgroup, which Attachment implements."""

    def use_slot(self, number: int) -> None: ...

    def watch_sockets(self) -> None: ...

    def close(self) -> None: ...

    def remaining(self) -> list[int]: ...


class Kernel(Protocol):
    """The interface of the BPF object, which Programs implements."""

    task_error: str

    @property
    def slot_count(self) -> int: ...

    def slot(self, number: int) -> Slot: ...

    def attach(self, cgroup_fd: int, cgroup: int) -> Attached: ...

    def detach_all(self, cgroup: int) -> None: ...

    def name_task(self, tgid: int, serial: int) -> None: ...

    def forget_task(self, tgid: int, *, alive: bool) -> None: ...


@dataclass(frozen=True)
class Holder:
    """A process that a cgroup is limited for, and the key of the request."""

    request: str
    pid: int
    start: int


@dataclass
class Hold:
    """The limit that one holder requests, and the pidfd that reports its end."""

    limit: Limit
    pidfd: int


@dataclass
class Entry:
    """One limited cgroup, or a stuck one: our programs could not be detached. Its slot stays taken and has no limit."""

    cgroup: int
    path: str
    cgroup_fd: int
    slot: int
    serial: int
    attachment: Attached
    holds: dict[Holder, Hold] = field(default_factory=dict)
    limit: Limit | None = None


def smallest(limits: list[Limit]) -> Limit:
    """Return the limit that satisfies all of `limits`: lowest rates, widest scope and kind."""

    def least(values: list[int]) -> int:
        return min((value for value in values if value), default=0)

    return Limit(
        least([limit.down for limit in limits]),
        least([limit.up for limit in limits]),
        "all" if any(limit.scope == "all" for limit in limits) else "internet",
        "cgroup" if any(limit.kind == "cgroup" for limit in limits) else "task",
    )


class Registry:
    """The limited cgroups.

    `on_last_exit(request)` is called when a cgroup's last watched process ended, before the limit ends; it may call
    hold() for others.
    """

    def __init__(
        self,
        loop: Loop,
        kernel: Kernel,
        mount: Path,
        on_last_exit: Callable[[str], None],
        proc: Path = Path("/proc"),
    ) -> None:
        self._loop, self._kernel, self._mount, self._proc = loop, kernel, mount, proc
        self._on_last_exit = on_last_exit
        self._free = list(range(kernel.slot_count - 1, 0, -1))
        self._serial = 0
        self.entries: dict[int, Entry] = {}
        self.stuck: dict[int, Entry] = {}
        self.stuck_total = 0
        self._ended = dict(NO_TRAFFIC)

    # ---- limiting ------------------------------------------------------------------------------

    def hold(self, member: Member, request: str, limit: Limit) -> Entry | None:
        """Limit the member's cgroup until the process ends. Return None if the process has ended already.

        Raises NetError, and then leaves the registry as it was.
        """
        if limit.kind == "task" and self._kernel.task_error:
            raise NetError(f"limits of single processes are unavailable: {self._kernel.task_error}")
        start = start_of(member.pid, self._proc)
        if start is None:
            return None
        holder = Holder(request, member.pid, start)
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
                    pidfd, lambda _fd: self._on_exit(cgroup, holder), name=f"limited {member.pid}"
                )
                stack.callback(self._loop.remove_fd, pidfd)
                if limit.kind == "task":
                    self._tag_sockets(entry, member.pid, stack)
                entry.holds[holder] = Hold(limit, pidfd)
            elif known.limit == limit:
                return entry
            else:
                if limit.kind == "task" and known.limit.kind != "task":
                    self._tag_sockets(entry, member.pid, stack)
                before, known.limit = known.limit, limit
                if before.kind == "task" and limit.kind != "task":
                    self._untag_sockets(member.pid, alive=True)
            self._write_limit(entry)
            stack.pop_all()
        return entry

    def _entry(self, path: str, stack: ExitStack) -> Entry | None:
        """Return the cgroup's entry, None if the cgroup is gone. `stack` undoes a new entry. Raises NetError."""
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
            if cgroup in self.stuck:
                raise NetError(
                    f"{path} still has programs of an earlier limit that could not be detached"
                )
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
                raise NetError(f"cannot limit {path}: {err}", err.errno) from err
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
        # read again: from here on the pidfd keeps the pid from naming another process
        return pidfd if start_of(pid, self._proc) == start else None

    def _tag_sockets(self, entry: Entry, pid: int, stack: ExitStack) -> None:
        stack.callback(self._untag_sockets, pid, alive=True)
        try:
            entry.attachment.watch_sockets()
            self._kernel.name_task(pid, entry.serial)
        except BpfError as err:
            raise NetError(f"cannot limit process {pid}: {err}", err.errno) from err

    def _write_limit(self, entry: Entry) -> None:
        """Write the smallest limit of the holders if it changed. A new rate starts without debt of the old one."""
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

    # ---- releasing -----------------------------------------------------------------------------

    def _on_exit(self, cgroup: int, holder: Holder) -> None:
        entry = self.entries.get(cgroup)
        if entry is None or holder not in entry.holds:
            return
        self._drop(entry, holder, alive=False)
        if not entry.holds:
            self._on_last_exit(holder.request)
        self._release_if_unused(entry)

    def _drop(self, entry: Entry, holder: Holder, *, alive: bool) -> None:
        hold = entry.holds.pop(holder)
        self._loop.remove_fd(hold.pidfd)
        os.close(hold.pidfd)
        if hold.limit.kind == "task":
            self._untag_sockets(holder.pid, alive=alive)

    def _untag_sockets(self, pid: int, *, alive: bool) -> None:
        """Charge a process's sockets to another limit that names it, or to none."""
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
            # harmless: no limit has the serial in its tags any more
            log.debug("cannot untag the sockets of process %d: %s", pid, err)

    def _release_if_unused(self, entry: Entry) -> None:
        if entry.holds:
            self._write_limit(entry)
        elif self.entries.get(entry.cgroup) is entry:
            self._detach(entry)

    def release(self, request: str) -> int:
        """End the holds of a request. Return their number."""
        count = 0
        for entry in list(self.entries.values()):
            for holder in [holder for holder in entry.holds if holder.request == request]:
                self._drop(entry, holder, alive=True)
                count += 1
            self._release_if_unused(entry)
        return count

    def release_entry(self, entry: Entry) -> None:
        """End a limit for all of its holders."""
        for holder in list(entry.holds):
            self._drop(entry, holder, alive=True)
        self._release_if_unused(entry)

    def _detach(self, entry: Entry) -> None:
        """Close the links, verify that the programs are detached, and remove the entry or keep it as stuck."""
        for lane in LANES.values():
            self._kernel.slot(entry.slot).set(f"lane[{lane}].rate", 0)
        self.entries.pop(entry.cgroup, None)
        for key, value in self.counts(entry).items():
            self._ended[key] += value
        try:
            entry.attachment.use_slot(0)
        except BpfError as err:
            log.debug("cannot reset the slot of %s: %s", printable(entry.path), err)
        try:
            entry.attachment.close()
        except BpfError as err:
            log.warning("cannot detach from %s: %s", printable(entry.path), err)
        if self._try_release(entry):
            return
        self.stuck[entry.cgroup] = entry
        self.stuck_total += 1
        log.warning("%s still runs our programs after the detach; retrying", printable(entry.path))

    def _try_release(self, stuck: Entry) -> bool:
        """Return True if none of our programs is left on the cgroup, and then free its slot and fd."""
        try:
            if stuck.attachment.remaining():
                self._kernel.detach_all(stuck.cgroup)
                if stuck.attachment.remaining():
                    return False
        except BpfError as err:
            if not _is_removed(stuck.cgroup_fd):
                log.debug("cannot query the programs of %s: %s", printable(stuck.path), err)
                return False
        os.close(stuck.cgroup_fd)
        self._free.append(stuck.slot)
        return True

    def check(self) -> None:
        """Release removed cgroups and retry stuck ones."""
        for entry in [e for e in self.entries.values() if _is_removed(e.cgroup_fd)]:
            log.info("%s was removed; its limit ends", printable(entry.path))
            self.release_entry(entry)
        for cgroup in [number for number, stuck in self.stuck.items() if self._try_release(stuck)]:
            del self.stuck[cgroup]

    # ---- counters ------------------------------------------------------------------------------

    def counts(self, entry: Entry) -> dict[tuple[str, str], int]:
        """Return the counters of one limit by direction and name."""
        view = self._kernel.slot(entry.slot)
        return {(lane, name): view.get(f"lane[{LANES[lane]}].{name}") for lane, name in self._ended}

    def totals(self) -> dict[tuple[str, str], int]:
        """Return the counters of all limits, ended ones included."""
        sums = dict(self._ended)
        for entry in self.entries.values():
            for key, value in self.counts(entry).items():
                sums[key] += value
        return sums

    def held(self, request: str) -> int:
        """Return the number of processes that are limited for a request."""
        return sum(h.request == request for entry in self.entries.values() for h in entry.holds)

    def close(self) -> None:
        for entry in list(self.entries.values()):
            self.release_entry(entry)
        for stuck in self.stuck.values():
            os.close(stuck.cgroup_fd)
        self.stuck.clear()


def _is_removed(cgroup_fd: int) -> bool:
    """Return True if a cgroup was removed; its directory is still open."""
    try:
        os.close(os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=cgroup_fd))
    except OSError:
        return True
    return False
