# SPDX-License-Identifier: GPL-2.0-only
"""Background traffic held to a rate while a game runs. The rest of the program lives without this room."""

from scx_gamer.netlimit.errors import NetError
from scx_gamer.netlimit.limiter import NetRoom
from scx_gamer.netlimit.operations import operations

__all__ = ["NetError", "NetRoom", "operations"]
