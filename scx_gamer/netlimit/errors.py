# SPDX-License-Identifier: GPL-2.0-or-later
"""The error of traffic limits."""

from __future__ import annotations

from scx_gamer.system.errors import ScxGamerError


class NetError(ScxGamerError):
    """A limit that could not be set: what failed, errno (0 if none), what to do."""

    separator = "; "
