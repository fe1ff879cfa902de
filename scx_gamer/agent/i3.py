# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter of sway and i3, which share an IPC protocol: magic, length and type before each JSON text."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from typing import Any

from scx_gamer.agent.model import FOCUS, MAX_MESSAGE, AgentError, Report, connect, decoded, pid_of

_HEAD = struct.Struct("=6sII")
_MAGIC = b"i3-ipc"
_SUBSCRIBE, _GET_TREE = 2, 4
_WORKSPACE_EVENT, _WINDOW_EVENT = 0x80000000, 0x80000003
_MAX_DEPTH = 64  # of the window tree


class I3:
    """The adapter of sway and i3. `pid_of_window` maps an X window to its pid, because i3's tree has no pids."""

    def __init__(self, path: str, name: str, pid_of_window: Callable[[int], int]) -> None:
        self.name = name
        self._path = path
        self._pid_of_window = pid_of_window

    async def run(self, report: Report) -> None:
        reader, writer = await connect(self._path, self.name)
        try:
            self._send(writer, _SUBSCRIBE, json.dumps(["window", "workspace"]).encode())
            self._send(writer, _GET_TREE)
            while True:
                kind, body = await self._message(reader)
                if kind == _WINDOW_EVENT and body.get("change") == "focus":
                    report(FOCUS, self._pid(body.get("container")), True)
                elif kind == _WINDOW_EVENT and body.get("change") == "close":
                    self._send(writer, _GET_TREE)
                elif kind == _WORKSPACE_EVENT and body.get("change") in ("focus", "empty"):
                    # no window event reports that a workspace became empty
                    self._send(writer, _GET_TREE)
                elif kind == _GET_TREE:
                    report(FOCUS, self._pid(focused(body)), True)
                elif kind == _SUBSCRIBE and body.get("success") is not True:
                    raise AgentError(f"{self.name} refused the subscription to events")
        finally:
            writer.close()

    @staticmethod
    def _send(writer: asyncio.StreamWriter, kind: int, body: bytes = b"") -> None:
        writer.write(_HEAD.pack(_MAGIC, len(body), kind) + body)

    async def _message(self, reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
        try:
            magic, length, kind = _HEAD.unpack(await reader.readexactly(_HEAD.size))
            if magic != _MAGIC or length > MAX_MESSAGE:
                raise AgentError(f"{self.name} does not speak i3's protocol")
            body = decoded(await reader.readexactly(length), self.name)
        except (OSError, asyncio.IncompleteReadError) as err:
            raise AgentError(f"{self.name} has ended") from err
        return kind, body if isinstance(body, dict) else {}

    def _pid(self, container: object) -> int:
        if not isinstance(container, dict):
            return 0
        window = pid_of(container.get("window"))
        return pid_of(container.get("pid")) or (self._pid_of_window(window) if window else 0)


def focused(node: object) -> dict[str, Any] | None:
    """Return the focused window of a tree, by following each node's first focus; None if there is none."""
    for _ in range(_MAX_DEPTH):
        if not isinstance(node, dict):
            return None
        order = node.get("focus")
        children = [
            child
            for listed in (node.get("nodes"), node.get("floating_nodes"))
            if isinstance(listed, list)
            for child in listed
            if isinstance(child, dict)
        ]
        first = order[0] if isinstance(order, list) and order else None
        focused_child = next(
            (c for c in children if first is not None and c.get("id") == first), None
        )
        if focused_child is None:
            return node if node.get("type") in ("con", "floating_con") and not children else None
        node = focused_child
    return None
