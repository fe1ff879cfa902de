# SPDX-License-Identifier: GPL-2.0-only
"""Control socket: the protocol, its server and its client. Imports only `system`.

A stream socket in the runtime directory carries one JSON object per line each way.
"""

from scx_gamer.control.client import request
from scx_gamer.control.protocol import (
    BAD_CONFIG,
    FAILED,
    MAX_REQUEST,
    NO_PERMISSION,
    NOT_RUNNING,
    USAGE,
    ControlError,
)

__all__ = [
    "BAD_CONFIG",
    "FAILED",
    "MAX_REQUEST",
    "NOT_RUNNING",
    "NO_PERMISSION",
    "USAGE",
    "ControlError",
    "request",
]
