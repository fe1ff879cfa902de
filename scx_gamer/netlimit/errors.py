# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong in this room."""

from __future__ import annotations


class NetError(Exception):
    """A limit that cannot be set: what, errno (0 if none), what to do."""

    def __init__(self, what: str, errno: int = 0, hint: str = "") -> None:
        super().__init__(f"{what}; {hint}" if hint else what)
        self.what = what
        self.errno = errno
        self.hint = hint
