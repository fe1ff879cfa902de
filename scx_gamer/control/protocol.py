# SPDX-License-Identifier: GPL-2.0-only
"""Codes and errors of the control protocol, shared by its server and its client."""

from __future__ import annotations

NOT_RUNNING = 3
NO_PERMISSION = 77
FAILED = 1
USAGE = 2
BAD_CONFIG = 78

MAX_REQUEST = 4096
MAX_ANSWER = 8 << 20


class ControlError(Exception):
    """A request that failed or was refused; `code` is an exit code."""

    def __init__(self, what: str, code: int = FAILED, errno: int = 0, hint: str = "") -> None:
        super().__init__(f"{what}: {hint}" if hint else what)
        self.what = what
        self.code = code
        self.errno = errno
        self.hint = hint
