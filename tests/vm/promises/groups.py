# SPDX-License-Identifier: GPL-2.0-or-later
"""Cgroups of a guest with the CPU controller, and hogs in them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.processes import running
from tests.vm.harness import wait_until

MOUNT = Path("/sys/fs/cgroup")


class Group:
    """One cgroup; at the end of `stack` its hogs end before it is removed."""

    def __init__(self, stack: ExitStack, path: Path) -> None:
        self._stack, self.path = stack, path
        (path.parent / "cgroup.subtree_control").write_text("+cpu")
        path.mkdir()
        stack.callback(self.remove)

    def remove(self) -> None:
        if self.path.exists():
            events = self.path / "cgroup.events"
            wait_until("no process left", lambda: "populated 0" in events.read_text())
            self.path.rmdir()

    def child(self, name: str) -> Group:
        return Group(self._stack, self.path / name)

    def set(self, **values: str) -> None:
        for name, value in values.items():
            (self.path / f"cpu.{name}").write_text(value)

    def take(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid))

    def hog(self, cpu: int | None = None) -> int:
        """Start one, on one CPU or any; return its pid."""
        bound = "" if cpu is None else f"import os\nos.sched_setaffinity(0, {{{cpu}}})\n"
        words = [sys.executable, "-Sc", f"{bound}while True: pass"]
        pid = self._stack.enter_context(running(words)).pid
        self.take(pid)
        return pid


@contextmanager
def groups(*names: str) -> Iterator[list[Group]]:
    with ExitStack() as stack:
        yield [Group(stack, MOUNT / name) for name in names]
