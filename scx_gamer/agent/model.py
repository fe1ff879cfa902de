# SPDX-License-Identifier: GPL-2.0-or-later
"""The interface of adapters, each of which reads events of one desktop or of GameMode, and their shared parsers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol

from scx_gamer.system.errors import ScxGamerError

FOCUS, GAMEMODE = "focus", "gamemode"
MAX_MESSAGE = 4 << 20  # of a compositor: room for a tree of some thousand windows
ANSWER_S = 5.0  # after which a compositor counts as hung


class AgentError(ScxGamerError):
    """A desktop whose events cannot be read: what failed, errno (0 if none), what to do."""


class Report(Protocol):
    """The way of an adapter's events. `why`: why the focus is unknown, or known in part; empty if it is known."""

    def __call__(self, kind: str, pid: int, active: bool, why: str = "") -> None: ...


class Adapter(Protocol):
    """A source of focus or game events. `run` reports the present state, then each change, until AgentError."""

    name: str

    async def run(self, report: Report) -> None: ...


Environment = Mapping[str, str]


def pid_of(value: object) -> int:
    """Return the pid in a message; 0 for any other value."""
    return value if type(value) is int and 0 < value < 1 << 31 else 0


def decoded(data: bytes | str, of: str) -> Any:
    """Parse JSON of a compositor. Raises AgentError."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as err:
        raise AgentError(f"{of} sent a message that is not JSON") from err


async def connect(path: str, of: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a Unix socket. Raises AgentError."""
    try:
        return await asyncio.open_unix_connection(path, limit=MAX_MESSAGE)
    except (OSError, ValueError) as err:
        number = err.errno or 0 if isinstance(err, OSError) else 0
        raise AgentError(f"cannot connect to {of}: {err}", number, "is it still running?") from err


async def line_of(reader: asyncio.StreamReader, of: str) -> bytes:
    """Read one line. Raises AgentError if the connection ended or the line is longer than MAX_MESSAGE."""
    try:
        line = await reader.readline()
    except (OSError, ValueError) as err:
        raise AgentError(f"{of}: {err}") from err
    if not line.endswith(b"\n"):
        raise AgentError(f"{of} has ended")
    return line
