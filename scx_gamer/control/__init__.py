# SPDX-License-Identifier: GPL-2.0-or-later
"""Control socket: the protocol, its server and its client. Imports only `system`.

A stream socket in the runtime directory carries one JSON object per line each way.
"""

from scx_gamer.control.client import request
from scx_gamer.control.protocol import MAX_REQUEST, ControlError, LimitError, UnreachableError

__all__ = ["MAX_REQUEST", "ControlError", "LimitError", "UnreachableError", "request"]
