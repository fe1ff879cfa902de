# SPDX-License-Identifier: GPL-2.0-or-later
"""Exits of the scheduler, and the action that follows each: a pure table."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from scx_gamer.system.text import printable

# enum scx_exit_kind and the layout of the exit code, kernel/sched/ext.c: stable since 6.12
KIND_NONE = 0
KIND_DONE = 1
KIND_UNREG = 64
KIND_UNREG_BPF = 65
KIND_UNREG_KERN = 66
KIND_SYSRQ = 67
KIND_PARENT = 68
KIND_ERROR = 1024
KIND_ERROR_BPF = 1025
KIND_ERROR_STALL = 1026

CODE_RESTART = 1 << 48
CODE_HOTPLUG = 1 << 32

_NAMES = {
    KIND_NONE: "none",
    KIND_DONE: "done",
    KIND_UNREG: "unregistered",
    KIND_UNREG_BPF: "unregistered_bpf",
    KIND_UNREG_KERN: "unregistered_kernel",
    KIND_SYSRQ: "sysrq",
    KIND_PARENT: "parent",
    KIND_ERROR: "error",
    KIND_ERROR_BPF: "error_bpf",
    KIND_ERROR_STALL: "stall",
}
KIND_NAMES = frozenset(_NAMES.values()) - {"none"} | {"other"}  # all results of kind_name


class Action(enum.Enum):
    """The supervisor's action after an exit."""

    DONE = "done"
    RESTART = "restart"  # a new generation after a short settle, not counted
    OFF = "off"  # by the user or the kernel: stays off
    COUNT = "count"  # a failure: backoff, in the end fallback


@dataclass(frozen=True)
class ExitRecord:
    """The contents of the exit_info map, which ops.exit writes."""

    kind: int
    code: int = 0
    generation: int = 0
    reason: str = ""
    message: str = ""
    dump: str = ""

    @property
    def name(self) -> str:
        return kind_name(self.kind)

    def line(self) -> str:
        """Return one line for a log or for `status`."""
        text = ": ".join(part for part in (self.reason, self.message) if part)
        hotplug = ", CPU hotplug" if self.code & CODE_HOTPLUG else ""
        return f"exit {self.kind} ({self.name}{hotplug}) {printable(' '.join(text.split()), 1200)}".rstrip()


def kind_name(kind: int) -> str:
    """Return a name of a bounded set: an unknown kind is `error` or `other`."""
    if kind in _NAMES:
        return _NAMES[kind]
    return "error" if kind >= KIND_ERROR else "other"


def classify(kind: int, code: int) -> Action:
    """Return the action for an exit kind and code."""
    if kind in (KIND_DONE, KIND_UNREG):
        return Action.DONE
    if kind in (KIND_UNREG_BPF, KIND_UNREG_KERN) and code & CODE_RESTART:
        return Action.RESTART
    if kind in (KIND_UNREG_KERN, KIND_SYSRQ, KIND_PARENT):
        return Action.OFF
    # errors, kinds of newer kernels, and an exit of our own BPF code without a request to restart:
    # counted, so that the retries are bounded
    return Action.COUNT
