# SPDX-License-Identifier: GPL-2.0-or-later
"""Base class of every error that reaches a person."""

from __future__ import annotations

from errno import EACCES, EPERM

from scx_gamer.system.exit_codes import FAILED, NO_PERMISSION


class ScxGamerError(Exception):
    """A failure in one line: `what` failed, `errno` (0 if none), `hint`, the action that mends it.

    A subclass, or one raise of it, sets `code` where the errno does not give the exit code.
    """

    separator = ": "  # between what and hint
    code = 0

    def __init__(self, what: str, errno: int = 0, hint: str = "", code: int = 0) -> None:
        super().__init__(f"{what}{self.separator}{hint}" if hint else what)
        self.what = what
        self.errno = errno
        self.hint = hint
        self.code = code or self.code

    @property
    def exit_code(self) -> int:
        """The code of the error, else the one of its errno."""
        return self.code or code_of_errno(self.errno)


def code_of_errno(errno: int | None) -> int:
    """NO_PERMISSION for EPERM and EACCES, FAILED for all others."""
    return NO_PERMISSION if errno in (EPERM, EACCES) else FAILED
