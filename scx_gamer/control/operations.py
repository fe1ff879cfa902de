# SPDX-License-Identifier: GPL-2.0-or-later
"""The one table of operations: names on the control socket, methods of the bus, arguments, and who may.

The command, the socket and the bus all read it. Whatever is not in it cannot be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

# The request without `op`, and the asking user's uid.
Handler: TypeAlias = Callable[[Mapping[str, Any], int], Any]


class Access(Enum):
    """The users who may call an operation: root over the socket, and over the bus those whom polkit allows."""

    ALL = ""
    MANAGE = "manage"
    SET_PROFILE = "set-profile"


class Spec(NamedTuple):
    """`member`: method of the bus, empty for none; `query`: what Query hands out."""

    access: Access
    member: str = ""
    arguments: tuple[str, ...] = ()
    query: bool = False


OPERATIONS: dict[str, Spec] = {
    "status": Spec(Access.ALL, query=True),
    "devices": Spec(Access.ALL, query=True),
    "games": Spec(Access.ALL, query=True),
    "snapshot": Spec(Access.ALL, query=True),
    "profiles": Spec(Access.ALL, query=True),
    "explain": Spec(Access.ALL, "Explain", ("pid",)),
    "hint": Spec(Access.ALL),  # the gate of session hints decides
    "sessions": Spec(Access.ALL, query=True),  # these three: of the asking user
    "session": Spec(Access.ALL, "Session", ("id",)),
    "session_delete": Spec(Access.ALL, "DeleteSession", ("id",)),
    "start": Spec(Access.MANAGE, "Start", ("profile",)),
    "stop": Spec(Access.MANAGE, "Stop"),
    "restart": Spec(Access.MANAGE, "Restart"),
    "reload": Spec(Access.MANAGE, "Reload"),
    "game_add": Spec(Access.MANAGE, "AddGame", ("pid",)),
    "game_remove": Spec(Access.MANAGE, "RemoveGame", ("pid",)),
    "profile_set": Spec(Access.SET_PROFILE, "SetProfile", ("name", "sticky")),
    "compare": Spec(Access.ALL),  # root, or the player of the only games
    "compare_end": Spec(Access.ALL),  # by the id that only its client knows
    "net_status": Spec(Access.ALL),
    "net_limit": Spec(Access.MANAGE),
    "net_release": Spec(Access.MANAGE),
    "net_measure": Spec(Access.MANAGE),
}
BY_MEMBER = {spec.member: name for name, spec in OPERATIONS.items() if spec.member}


class Operation(NamedTuple):
    """`call` may raise ControlError."""

    call: Handler
    spec: Spec

    @property
    def root_only(self) -> bool:
        return self.spec.access is not Access.ALL


def bind(calls: Mapping[str, Handler]) -> dict[str, Operation]:
    """Return the table with its calls. Raises KeyError for a name that the table lacks."""
    return {name: Operation(call, OPERATIONS[name]) for name, call in calls.items()}
