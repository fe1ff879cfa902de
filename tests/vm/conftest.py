# SPDX-License-Identifier: GPL-2.0-or-later
"""Every test here runs as root on a kernel with sched_ext, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scx_gamer.leakcheck import world
from scx_gamer.leakcheck.check import Complaints
from scx_gamer.libbpf import kernel

SCHED_EXT = Path("/sys/kernel/sched_ext")


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.option.collectonly:  # which is how a guest's host compiles them
        return
    if os.geteuid() != 0 or not SCHED_EXT.is_dir():
        pytest.exit(
            "tests/vm needs root on a kernel with sched_ext: use `make test-vm`", returncode=2
        )


if "SCX_GAMER_IN_VM" in os.environ:
    # A guest sees its host's /tmp, where others are at work.
    world.PLACES = {
        place: names for place, names in world.PLACES.items() if place.startswith("/run")
    }


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "needs(path): the guest must have this file; the small kernel or another architecture's root may not",
    )
    config.addinivalue_line(
        "markers",
        "small_kernel: for what only the small kernel that we build has, such as kmemleak",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, by name, what the small built kernel has no part for, and another architecture's root no package;
    in any other guest it fails instead."""
    small = os.uname().release.endswith("-kml")
    bare = small or "SCX_GAMER_FOREIGN" in os.environ
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        missing = [m.args[0] for m in item.iter_markers("needs") if not Path(m.args[0]).exists()]
        elsewhere = item.get_closest_marker("small_kernel") is not None and not small
        (left_out if (missing and bare) or elsewhere else kept).append(item)
    if left_out:
        print("not in this guest:", ", ".join(item.name for item in left_out))
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """Fails when the block leaves a BPF object, pin, attachment, fd, thread, child, file or scheduler behind, or
    makes the kernel complain."""
    kernel.ids("prog")  # opens libbpf once, so that its own descriptors are in the first look
    with Complaints() as complaints:
        before = world.now()
        yield
        left = world.left_over(before)
        said = complaints.new()
    assert not left, "left behind: " + "; ".join(map(str, left))
    assert not said, "the kernel complained: " + "; ".join(said)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Any test that leaves something behind fails."""
    with leaving_nothing():
        yield
