# SPDX-License-Identifier: GPL-2.0-only
"""What an adapter is: the part that speaks to one desktop, or to GameMode."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from scx_gamer.system.errors import ScxGamerError

FOCUS, GAMEMODE = "focus", "gamemode"
MAX_MESSAGE = 4 << 20  # of a compositor: a tree of some thousand windows
ANSWER_S = 5.0  # a compositor that takes longer has hung

Report = Callable[[str, int, bool], None]  # kind, pid, active


class AgentError(ScxGamerError):
    """A desktop that cannot be listened to."""


class Adapter(Protocol):
    """`run` reports the present state first, then each change; it ends by an AgentError or when cancelled."""

    name: str

    async def run(self, report: Report) -> None: ...


Environment = Mapping[str, str]


def pid_of(value: object) -> int:
    """A process number of a message; 0 for anything else."""
    return value if type(value) is int and 0 < value < 1 << 31 else 0


def decoded(data: bytes | str, of: str) -> Any:
    """JSON of a compositor. Raises AgentError."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as err:
        raise AgentError(f"{of} said something that is not JSON") from err


async def connect(path: str, of: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream to a Unix socket. Raises AgentError."""
    try:
        return await asyncio.open_unix_connection(path, limit=MAX_MESSAGE)
    except (OSError, ValueError) as err:
        number = err.errno or 0 if isinstance(err, OSError) else 0
        raise AgentError(f"cannot connect to {of}: {err}", number, "is it still running?") from err


async def line_of(reader: asyncio.StreamReader, of: str) -> bytes:
    """One line. Raises AgentError when the other side is gone, or the line has no end."""
    try:
        line = await reader.readline()
    except (OSError, ValueError) as err:
        raise AgentError(f"{of}: {err}") from err
    if not line.endswith(b"\n"):
        raise AgentError(f"{of} has ended")
    return line
