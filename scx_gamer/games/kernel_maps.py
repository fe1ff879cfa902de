# SPDX-License-Identifier: GPL-2.0-or-later
"""The maps that the detector writes: classes, processes to follow, and names to report."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator, Mapping

from scx_gamer.games.exec_filter import ExecFilter, comm_of
from scx_gamer.games.proc import Tree
from scx_gamer.libbpf import Abi, BpfError, Map, StructView
from scx_gamer.observe.control_ring import Sender

log = logging.getLogger(__name__)

_U32 = struct.Struct("<I")


class KernelMaps:
    """Classes go through the control ring, in order with all else; names and followed processes straight into their
    maps, which nobody but the hooks reads."""

    def __init__(
        self, feed: Sender, maps: Mapping[str, Map], abi: Abi, control: StructView
    ) -> None:
        self._feed = feed
        self._abi = abi
        self._control = control
        self._names, self._tracked, self._classes = maps["names"], maps["tracked"], maps["classes"]
        self.report = abi.constants["SCXG_NAME_REPORT"]
        self.tree = abi.constants["SCXG_NAME_TREE"]
        self.max_names = abi.constants["SCXG_MAX_NAMES"]
        self._comm = abi.constants["SCXG_COMM_LEN"]
        self._focus: tuple[int, bool] | None = None

    def class_set(self, pid: int, name: str, start_ns: int, exec_ns: int) -> None:
        """`exec_ns`: when its exec was seen, so that the kernel can measure the way; 0: not because of one."""
        class_id = self._abi.constants[f"SCXG_CLASS_{name}"]
        fields = {"time_ns": exec_ns, "value": 1} if exec_ns else {}
        self._feed.send("CLASS_SET", tgid=pid, class_id=class_id, start_ns=start_ns, **fields)

    def class_del(self, pid: int) -> None:
        self._feed.send("CLASS_DEL", tgid=pid)

    def game_active(self, active: bool) -> None:
        self._feed.send("GAME_ACTIVE", value=int(active))

    def flush(self) -> None:
        """Wait until the kernel has taken everything that was sent."""
        self._feed.flush()

    def focus(self, pid: int, away: bool) -> None:
        if self._focus != (pid, away):
            self._focus = (pid, away)
            self._feed.send("FOCUS", tgid=pid, value=int(away))

    def forget_focus(self) -> None:
        """The next one is sent even if it is the same."""
        self._focus = None

    def events_lost(self) -> int:
        return self._control.get("events_lost")

    def follow(self, pid: int, start_ns: int) -> None:
        """Tell of this process and of all that it starts."""
        self._follow(pid, start_ns, self.report | self.tree)

    def follow_alone(self, pid: int, start_ns: int) -> None:
        """Tell of this process; if its tree is followed already, of that too."""
        if self._tracked.lookup(_U32.pack(pid)) is None:
            self._follow(pid, start_ns, self.report)

    def _follow(self, pid: int, start_ns: int, flags: int) -> None:
        value = self._abi.pack("scxg_tracked", start_ns=start_ns, flags=flags)
        try:
            self._tracked.update(_U32.pack(pid), value)
        except BpfError as err:
            log.warning("process %d is not followed: %s", pid, err)

    def follow_launchers(self, tree: Tree, names: ExecFilter) -> Iterator[None]:
        """Follow the trees of launchers that ran before us as if their exec had been seen, one process at a time."""
        followed: set[int] = set()
        for process in list(tree):
            yield
            if names.flags.get(comm_of(process.comm), 0) & self.tree:
                below = [process.pid]
                while below:  # a launcher below another one has been walked already
                    pid = below.pop()
                    if pid not in followed:
                        followed.add(pid)
                        below += [child.pid for child in tree.children(pid)]
                        self.follow(pid, 0)
                        yield

    def tell_names(self, names: ExecFilter) -> None:
        """Replace the table; without a filter every exec is told."""
        wanted = {name.ljust(self._comm, b"\0"): flags for name, flags in names.flags.items()}
        for key in set(self._names.keys()) - wanted.keys():
            self._names.delete(key)
        for key, flags in wanted.items():
            self._names.update(key, _U32.pack(flags))
        self._control.set("watch_execs", int(bool(names.unfiltered)))
        if names.unfiltered:
            log.warning("every exec is told: %s", names.unfiltered)

    def sweep(self, known: Tree) -> Iterator[None]:
        """Take out what a race with an exit left behind, one entry at a time."""
        for table in (self._tracked, self._classes):
            keys: set[bytes] = set()
            every = table.keys()
            for key in every:
                keys.add(key)
                yield
            for key in keys:
                pid = _U32.unpack(key)[0]
                # A child that no event has told of yet has its class from the kernel.
                if pid not in known and not os.path.exists(f"/proc/{pid}"):
                    table.delete(key)
                yield
