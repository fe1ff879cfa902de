# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel without one of the optional hooks: that feature alone is missing, and named."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from scx_gamer.libbpf import find_object
from scx_gamer.observe.observer import Observer
from scx_gamer.system.loop import Loop

TARGETS = {
    "on_input": b"fentry/input_event\0",
    "on_inject": b"fentry/input_inject_event\0",
    "on_exec": b"tp_btf/sched_process_exec\0",
    "on_exit": b"tp_btf/sched_process_exit\0",
    "on_fork": b"tp_btf/sched_process_fork\0",
    "on_rename": b"tp_btf/task_rename\0",
}


def without(hooks: list[str], folder: Path) -> Path:
    """Our object, as it would meet a kernel that has not what these hooks attach to."""
    data = find_object("observe").read_bytes()
    for hook in hooks:
        target = TARGETS[hook]
        assert target in data  # its section's name, and the same in BTF
        data = data.replace(target, target[:-2] + b"X\0")
    path = folder / "observe.bpf.o"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("missing", [[name] for name in TARGETS] + [list(TARGETS)], ids=len)
def test_each_hook_may_be_missing(missing: list[str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        loop = stack.enter_context(Loop())
        observe = Observer(loop, path=without(missing, tmp_path))
        stack.callback(observe.close)
        assert set(observe.unavailable) == set(missing)
        assert observe.hooks == set(TARGETS) - set(missing)
        assert all(why for why in observe.unavailable.values())
        observe.set_generation(1)
        observe.feed.send("HEARTBEAT")
        observe.feed.flush()
        assert observe.control.get("heartbeat_ns") > 0
