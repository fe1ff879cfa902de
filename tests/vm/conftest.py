# SPDX-License-Identifier: GPL-2.0-only
"""Every test here runs as root on a kernel with sched_ext, and leaves nothing behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scx_gamer.libbpf import kernel

SCHED_EXT = Path("/sys/kernel/sched_ext")
QUIET_S = (
    3.0  # BPF ids go away up to a quarter of a second after the close; a busy guest takes longer
)


def pytest_sessionstart() -> None:
    if os.geteuid() != 0 or not SCHED_EXT.is_dir():
        pytest.exit(
            "tests/vm needs root on a kernel with sched_ext: use `make test-vm`", returncode=2
        )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(path): the kernel must offer this file; the small one-CPU kernel may not"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, by name, what the small built kernel has no part for; on any other kernel it fails instead."""
    small = os.uname().release.endswith("-kml")
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        missing = [m.args[0] for m in item.iter_markers("needs") if not Path(m.args[0]).exists()]
        (left_out if missing and small else kept).append(item)
    if left_out:
        print("not on this small kernel:", ", ".join(item.name for item in left_out))
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@dataclass(frozen=True)
class World:
    """What a test might leave behind."""

    programs: frozenset[int]
    maps: frozenset[int]
    links: frozenset[int]
    fds: int
    threads: frozenset[str]
    state: str

    @classmethod
    def now(cls) -> World:
        return cls(
            frozenset(kernel.ids("prog")),
            frozenset(kernel.ids("map")),
            frozenset(kernel.ids("link")),
            len(os.listdir("/proc/self/fd")),
            frozenset(t.name for t in threading.enumerate()),
            (SCHED_EXT / "state").read_text().strip(),
        )

    def left_over(self, before: World) -> list[str]:
        found = [
            f"BPF {kind} {sorted(getattr(self, kind) - getattr(before, kind))}"
            for kind in ("programs", "maps", "links")
            if getattr(self, kind) - getattr(before, kind)
        ]
        if self.fds > before.fds:
            found.append(f"{self.fds - before.fds} file descriptors")
        if self.threads - before.threads:
            found.append(f"threads {sorted(self.threads - before.threads)}")
        if self.state != "disabled":
            found.append(f"sched_ext is {self.state}")
        return found


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fails any test that leaves a BPF object, a file descriptor, a thread or a scheduler behind."""
    kernel.ids("prog")  # opens libbpf once, so that its own descriptors are in the first count
    before = World.now()
    yield
    deadline = time.monotonic() + QUIET_S
    while (left := World.now().left_over(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, "left behind: " + "; ".join(left)
