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
    _errno.ESRCH: "this kernel lacks a function or type that the program needs",
    _errno.EINVAL: "this kernel rejected an argument",
    _errno.ENOMEM: "not enough memory, or the locked-memory limit is too low",
    _errno.EOPNOTSUPP: "this kernel does not support it",
}


class BpfError(ScxGamerError):
    """A failed BPF operation: what failed, errno (0 if none), what to do, and the end of libbpf's log."""

    def __init__(self, what: str, errno: int = 0, *, hint: str = "", log: str = "") -> None:
        super().__init__(what, abs(errno), hint or _HINTS.get(abs(errno), ""))
        self.log = log

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
