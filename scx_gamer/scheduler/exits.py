# SPDX-License-Identifier: GPL-2.0-only
"""What follows an exit of the scheduler: a pure table."""

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
KIND_NAMES = frozenset(_NAMES.values()) - {"none"} | {"other"}  # all that kind_name can give


class Action(enum.Enum):
    """What the supervisor does after an exit."""

    DONE = "done"
    RESTART = "restart"  # a new generation after a short settle, not counted
    OFF = "off"  # the user or the kernel wants it off: sticky
    COUNT = "count"  # a failure: backoff, in the end fallback


@dataclass(frozen=True)
class ExitRecord:
    """What ops.exit left in the exit_info map."""

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
        """One line for a log or for `status`."""
        text = ": ".join(part for part in (self.reason, self.message) if part)
        hotplug = ", CPU hotplug" if self.code & CODE_HOTPLUG else ""
        return f"exit {self.kind} ({self.name}{hotplug}) {printable(' '.join(text.split()), 1200)}".rstrip()


def kind_name(kind: int) -> str:
    """A bounded set of names: any kind we do not know is an error or `other`."""
    if kind in _NAMES:
        return _NAMES[kind]
    return "error" if kind >= KIND_ERROR else "other"


def classify(kind: int, code: int) -> Action:
    """The action for an exit kind and code."""
    if kind in (KIND_DONE, KIND_UNREG):
        return Action.DONE
    if kind in (KIND_UNREG_BPF, KIND_UNREG_KERN) and code & CODE_RESTART:
        return Action.RESTART
    if kind in (KIND_UNREG_KERN, KIND_SYSRQ, KIND_PARENT):
        return Action.OFF
    # errors, kinds of newer kernels, and our own BPF leaving without asking for a restart:
    # counted, so that trying again is bounded
    return Action.COUNT
