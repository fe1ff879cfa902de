# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors of BPF operations."""

from __future__ import annotations

import errno as _errno
import os

from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.exit_codes import UNSUPPORTED

_HINTS = {
    _errno.EPERM: "run as root, or with CAP_BPF and CAP_PERFMON",
    _errno.EACCES: "the verifier rejected it, or the capability CAP_BPF is missing",
    _errno.EBUSY: "another scheduler is loaded: see /sys/kernel/sched_ext/root/ops",
    _errno.ENOENT: "this kernel lacks a function or type that the program needs",
    _errno.ESRCH: "this kernel lacks a function or type that the program needs, or its module is not loaded",
    _errno.EINVAL: "this kernel rejected an argument",
    _errno.ENOMEM: "not enough memory, or the locked-memory limit is too low",
    _errno.EOPNOTSUPP: "this kernel does not support it",
}


# Lines that follow the one that says why, in libbpf's log and at the end of the verifier's. libbpf's advice to raise
# `ulimit -l` is for kernels before 5.11.
_NO_REASON = (
    "libbpf: failed to load object", "libbpf: prog ", "libbpf: permission error ",
    "-- ", "processed ", "verification time ", "stack depth ",
)  # fmt: skip


class BpfError(ScxGamerError):
    """A failed BPF operation: what failed, errno (0 if none), what to do, and the end of libbpf's log."""

    def __init__(self, what: str, errno: int = 0, *, hint: str = "", log: str = "") -> None:
        super().__init__(what, abs(errno), hint or _HINTS.get(abs(errno), ""))
        self.log = log

    @property
    def reason(self) -> str:
        """The line of the log that says why: the verifier's verdict, else libbpf's own word; empty without one."""
        lines = [line.strip() for line in self.log.splitlines()]
        # As the verifier of 7.3 begins its report of an error.
        if verdict := [line for line in lines if line.startswith("Verification failed: ")]:
            return verdict[-1]
        said = [line for line in lines if line and not line.startswith(_NO_REASON)]
        return said[-1] if said else lines[0] if lines else ""

    def with_reason(self) -> str:
        """Return the error as one line with the reason in brackets, where there is one."""
        return f"{self} [{self.reason}]" if self.reason else str(self)

    def __str__(self) -> str:
        parts = [self.what]
        if self.errno:
            parts.append(os.strerror(self.errno))
        if self.hint:
            parts.append(self.hint)
        return ": ".join(parts)


class LibbpfTooOld(BpfError):
    """An error that libbpf 1.4 or later was not found."""

    code = UNSUPPORTED
