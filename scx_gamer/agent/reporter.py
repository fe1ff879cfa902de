# SPDX-License-Identifier: GPL-2.0-only
"""From adapters to the supervisor: the last word on the focus, told again to a supervisor that comes later."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path

from scx_gamer.agent.model import ANSWER_S, FOCUS, GAMEMODE

log = logging.getLogger(__name__)

QUIET_S = 0.05  # one focus change is several events
GAP_S = 0.2  # between two hints: below the rate that the supervisor takes
RETRY_S = 5.0  # while nobody listens
AGAIN_S = 30.0  # the same once more, for a supervisor that was started anew
_MAX_GAMES = 64


class Reporter:
    """Keeps what is true now; `run` brings the supervisor up to date with it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._focus = 0
        self._known_focus = False
        self._games: dict[int, bool] = {}
        self._told: dict[tuple[str, int], bool] = {}
        self._changed = asyncio.Event()
        self._error = ""
        self.sent = 0

    def report(self, kind: str, pid: int, active: bool) -> None:
        """What an adapter saw."""
        if kind == FOCUS:
            self._focus, self._known_focus = pid, True
        elif kind == GAMEMODE and (pid in self._games or len(self._games) < _MAX_GAMES):
            self._games[pid] = active
        self._changed.set()

    def _due(self) -> list[tuple[str, int, bool]]:
        """What the supervisor was not told yet; the focus last, so that it is about games it knows."""
        wanted = [(GAMEMODE, pid, active) for pid, active in self._games.items()]
        if self._known_focus:
            wanted.append((FOCUS, self._focus, True))
        return [hint for hint in wanted if self._told.get(hint[:2]) != hint[2]]

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(QUIET_S)
            self._changed.clear()
            for hint in self._due():
                try:
                    await asyncio.wait_for(self._send(*hint), ANSWER_S)
                except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as err:
                    self._say(f"no supervisor at {self._path}: {err or type(err).__name__}")
                    self._told.clear()
                    await asyncio.sleep(RETRY_S)
                    self._changed.set()
                    break
                await asyncio.sleep(GAP_S)
            try:
                await asyncio.wait_for(self._changed.wait(), AGAIN_S)
            except TimeoutError:
                self._told.clear()

    async def _send(self, kind: str, pid: int, active: bool) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            hint = {"op": "hint", "kind": kind, "pid": pid, "active": active}
            writer.write(json.dumps(hint | {"time_ns": time.monotonic_ns()}).encode() + b"\n")
            answer = json.loads(await reader.readuntil(b"\n"))
        finally:
            writer.close()
        self.sent += 1
        if kind == FOCUS:
            self._told = {key: value for key, value in self._told.items() if key[0] != FOCUS}
        self._told[kind, pid] = active
        if kind == GAMEMODE and not active:
            self._games.pop(pid, None)
            self._told.pop((kind, pid), None)
        refused = not isinstance(answer, dict) or answer.get("ok") is not True
        self._say(str(answer.get("error", answer)) if refused and isinstance(answer, dict) else "")

    def _say(self, error: str) -> None:
        """Each new trouble once."""
        if error and error != self._error:
            log.warning("%s", error)
        self._error = error
