# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong in this room."""

from __future__ import annotations

from scx_gamer.system.errors import ScxGamerError


class NetError(ScxGamerError):
    """A limit that cannot be set: what, errno (0 if none), what to do."""

    separator = "; "
