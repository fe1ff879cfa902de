# SPDX-License-Identifier: GPL-2.0-or-later
"""Shells on the session bus, and the object on which one reports the process of its focused window, as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from scx_gamer.agent.model import AgentError, pid_of
from scx_gamer.dbus.userbus import UserBus, UserBusError

AGENT, AGENT_PATH = "io.github.scx_gamer.Agent1", "/io/github/scx_gamer/Agent1"


@asynccontextmanager
async def shell(
    address: str, service: str, name: str
) -> AsyncIterator[tuple[UserBus, str, asyncio.Queue[str]]]:
    """Yield the session bus, the connection that owns `service`, and its later owners. Raises AgentError."""
    try:
        async with UserBus(address) as bus:
            changes: asyncio.Queue[str] = asyncio.Queue()
            await bus.on_owner(service, changes.put_nowait)
            owner = await bus.owner(service)
            if not owner:
                raise AgentError(f"{name} is not on the session bus")
            yield bus, owner, changes
    except UserBusError as err:
        raise AgentError(f"session bus: {err}") from err


async def take_focus_calls(bus: UserBus, owner: str, focused: Callable[[int], None]) -> None:
    """Pass each pid that the connection `owner` reports to `focused`, 0 for no window; others are refused.

    Raises AgentError if the bus name is taken, and UserBusError.
    """

    def on_call(sender: str, member: str, body: list[Any]) -> bool:
        if sender != owner or member != "Focus" or len(body) != 1:
            return False
        number = body[0]
        whole = isinstance(number, float) and number.is_integer()  # a script of KWin has no others
        focused(pid_of(int(number) if whole else number))
        return True

    bus.on_call(AGENT_PATH, AGENT, on_call)
    if not await bus.request_name(AGENT):
        raise AgentError(
            f"the bus name {AGENT} is taken", hint="another agent runs in this session"
        )
