# SPDX-License-Identifier: GPL-2.0-or-later
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


class UnreachableError(ControlError):
    """No answer came: the supervisor does not run, hung up, or did not answer in time."""


class LimitError(ControlError):
    """A share of the asking user's that is spent: refused at once, and later it may work."""
