# SPDX-License-Identifier: GPL-2.0-or-later
"""Rate limits on background traffic while a game runs. Optional: imports `libbpf`, `config`, `control`, `system`."""

from scx_gamer.netlimit.errors import NetError
from scx_gamer.netlimit.limiter import TrafficLimiter
from scx_gamer.netlimit.operations import operations

__all__ = ["NetError", "TrafficLimiter", "operations"]
