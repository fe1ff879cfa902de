# SPDX-License-Identifier: GPL-2.0-or-later
"""Records of game sessions: figures of the supervisor over the time of a game, kept in a database.

Imports only `system` and `control`. The supervisor imports none of it before a game runs or a user asks for sessions.
"""

from __future__ import annotations

from scx_gamer.system.errors import ScxGamerError


class SessionError(ScxGamerError):
    """A record or a database that is unusable, or a session that is not there."""
