# SPDX-License-Identifier: GPL-2.0-only
"""Limits and the error of the control protocol, shared by its server and its client."""

from __future__ import annotations

from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.exit_codes import FAILED

MAX_REQUEST = 4096
MAX_ANSWER = 4 << 20  # also all that one user may leave unread, over all connections


class ControlError(ScxGamerError):
    """A request that failed or was refused; `code` is an exit code."""

    def __init__(self, what: str, code: int = FAILED, errno: int = 0, hint: str = "") -> None:
        super().__init__(what, errno, hint, code)
