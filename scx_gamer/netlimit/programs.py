# SPDX-License-Identifier: GPL-2.0-or-later
"""The loaded BPF object of network limits, its slots and its attachments."""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress
from pathlib import Path

from scx_gamer.libbpf import Abi, BpfError, Link, Object, StructView, find_object, kernel
from scx_gamer.netlimit import cgroups
from scx_gamer.system.files import open_directory

log = logging.getLogger(__name__)

OBJECT = "netlimit"
UP, DOWN, SOCK, OPEN = "scxg_net_up", "scxg_net_down", "scxg_net_sock", "scxg_net_open"
METERS = ("scxg_meter_up", "scxg_meter_down")
TYPES = tuple(kernel.CGROUP_TYPES.values())
_ATTACHED = frozenset({UP, DOWN, SOCK, *METERS})


class Attachment:
    """Our programs on one cgroup. The caller owns `cgroup_fd`."""

    def __init__(self, programs: Programs, cgroup_fd: int, cgroup: int) -> None:
        self._programs, self._cgroup_fd, self._cgroup = programs, cgroup_fd, cgroup
        self._sock: Link | None = None
        with ExitStack() as stack:
            for name in (UP, DOWN):
                stack.enter_context(programs.object.programs[name].attach_cgroup(cgroup_fd))
            self._stack = stack.pop_all()

    def use_slot(self, number: int) -> None:
        """Apply the limits of a slot. A closed link leaves the entry in the map, so it is overwritten."""
        value = number.to_bytes(8, "little")
        self._programs.object.maps["attached"].update(self._cgroup.to_bytes(8, "little"), value)

    def watch_sockets(self) -> None:
        """Tag the sockets that named processes open from now on."""
        if self._sock is None:
            program = self._programs.object.programs[SOCK]
            self._sock = self._stack.enter_context(program.attach_cgroup(self._cgroup_fd))

    def close(self) -> None:
        """Detach. Raises BpfError if a link could not be closed."""
        self._stack.close()

    def remaining(self) -> list[int]:
        """Return the ids of our programs that are still attached to the cgroup."""
        return self._programs.on(self._cgroup_fd)


class Programs:
    """The loaded object. Loading attaches nothing. Raises BpfError."""

    def __init__(self, path: Path | None = None) -> None:
        path = path or find_object(OBJECT)
        self.task_error = ""  # reason why limits of kind `task` are unavailable
        with ExitStack() as stack:
            self.object = self._load(path)
            stack.callback(self.object.close)
            self.abi = Abi(self.object.btf)
            self._slots = stack.enter_context(self.object.maps["slots"].mapped("scxg_net_slot"))
            self._ids = {
                int(kernel.prog_info(program.fd)["id"])
                for name, program in self.object.programs.items()
                if name in (UP, DOWN) or (name == SOCK and not self.task_error)
            }
            self._meter: list[Link] = []
            stack.callback(self.stop_meter)
            self._stack = stack.pop_all()

    def _load(self, path: Path) -> Object:
        """Load with the programs of kind `task`, or without them if that fails. Raises BpfError."""
        try:
            return Object.loaded(path)
        except BpfError as err:
            self.task_error = str(err)
        obj = Object.loaded(path, {UP, DOWN, *METERS})
        log.warning("limits of single processes are unavailable: %s", self.task_error)
        return obj

    @property
    def slot_count(self) -> int:
        return len(self._slots)

    def slot(self, number: int) -> StructView:
        return self._slots[number]

    def attach(self, cgroup_fd: int, cgroup: int) -> Attachment:
        return Attachment(self, cgroup_fd, cgroup)

    def on(self, cgroup_fd: int) -> list[int]:
        """Return the ids of this object's programs that are attached to a cgroup."""
        found = (p for kind in TYPES for p in kernel.programs_on(cgroup_fd, kind))
        return [number for number in found if number in self._ids]

    def detach_all(self, cgroup: int) -> None:
        """Detach every link of this object to a cgroup, even if another process holds it open."""
        for link in kernel.cgroup_links():
            if link.cgroup == cgroup and link.program in self._ids:
                kernel.detach_link(link.id)

    def name_task(self, tgid: int, serial: int) -> None:
        """Charge a process's sockets, present and future ones, to the limit `serial`."""
        self.object.maps["tasks"].update(tgid.to_bytes(4, "little"), serial.to_bytes(8, "little"))
        self.object.programs[OPEN].iterate_task(tgid)

    def forget_task(self, tgid: int, *, alive: bool) -> None:
        """Stop charging a process's sockets. A process that ended has none left to untag."""
        self.object.maps["tasks"].delete(tgid.to_bytes(4, "little"))
        if alive:
            self.object.programs[OPEN].iterate_task(tgid)

    def start_meter(self, root_fd: int) -> None:
        """Start counting bytes of every cgroup, unless the meter runs."""
        if self._meter:
            return
        with ExitStack() as stack:
            links = [
                stack.enter_context(self.object.programs[name].attach_cgroup(root_fd))
                for name in METERS
            ]
            stack.pop_all()
        self._meter = links

    def stop_meter(self) -> None:
        links, self._meter = self._meter, []
        for link in links:
            link.close()

    def metered(self) -> dict[int, tuple[int, int]]:
        """Return bytes down and up by cgroup id, since the meter first started."""
        meters = self.object.maps["meters"]
        found = {}
        for key in set(meters.keys()):
            raw = meters.lookup(key)
            if raw is not None:
                value = self.abi.unpack("scxg_net_meter", raw)
                found[int.from_bytes(key, "little")] = (int(value["down"]), int(value["up"]))
        return found

    def close(self) -> None:
        self._stack.close()


def leftovers(mount: Path) -> list[tuple[str, str, int, int]]:
    """Return our programs on all cgroups: path, name, id, attach type. Raises BpfError, OSError."""
    ours = {number: name for number, name in kernel.names("prog").items() if name in _ATTACHED}
    found: list[tuple[str, str, int, int]] = []
    if not ours:
        return found
    for folder in (mount, *cgroups.descendants(mount)):
        path = "/" if folder == mount else f"/{folder.relative_to(mount)}"
        with suppress(OSError), open_directory(folder) as fd:  # it may be removed meanwhile
            for kind in TYPES:
                found.extend(
                    (path, ours[number], number, kind)
                    for number in kernel.programs_on(fd, kind)
                    if number in ours
                )
    return found


def remove_leftovers(mount: Path) -> int:
    """Detach programs of an earlier supervisor and return their number. Raises BpfError, OSError."""
    found = leftovers(mount)
    programs = {number for _path, _name, number, _kind in found}
    for link in kernel.cgroup_links() if found else ():
        if link.program in programs:
            kernel.detach_link(link.id)
    for path, _name, number, kind in leftovers(mount) if found else ():
        with open_directory(mount / path.lstrip("/")) as fd:
            kernel.detach_program(number, fd, kind)
    return len(found)
