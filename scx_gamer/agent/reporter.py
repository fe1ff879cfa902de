# SPDX-License-Identifier: GPL-2.0-or-later
"""The reporter: it sends the latest state of the adapters to the supervisor, and again to one that starts later."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path

from scx_gamer.agent.model import ANSWER_S, FOCUS, GAMEMODE

log = logging.getLogger(__name__)

QUIET_S = 0.05  # coalesces the several events of one focus change
GAP_S = 0.2  # between two hints, below the rate that the supervisor accepts
RETRY_S = 5.0  # while there is no supervisor
AGAIN_S = 30.0  # period of sending everything again, for a restarted supervisor
_MAX_GAMES = 64


class Reporter:
    """The present focus and games, which `run` sends to the supervisor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._focus, self._why = 0, ""
        self._known_focus = False
        self._games: dict[int, bool] = {}
        self._delivered: dict[tuple[str, int], tuple[bool, str]] = {}
        self._changed = asyncio.Event()
        self._error = ""
        self.sent = 0

    def report(self, kind: str, pid: int, active: bool, why: str = "") -> None:
        """Record an event of an adapter."""
        if kind == FOCUS:
            self._focus, self._why, self._known_focus = pid, why, True
        elif kind == GAMEMODE and (pid in self._games or len(self._games) < _MAX_GAMES):
            self._games[pid] = active
        self._changed.set()

    def _due(self) -> list[tuple[str, int, bool, str]]:
        """Return the hints that are to be sent. The focus is last, so that it refers to known games."""
        wanted = [(GAMEMODE, pid, active, "") for pid, active in self._games.items()]
        if self._known_focus:
            wanted.append((FOCUS, self._focus, True, self._why))
        return [hint for hint in wanted if self._delivered.get(hint[:2]) != hint[2:]]

    async def run(self) -> None:
        """Send hints until cancelled."""
        while True:
            await asyncio.sleep(QUIET_S)
            self._changed.clear()
            for hint in self._due():
                try:
                    await asyncio.wait_for(self._send(*hint), ANSWER_S)
                except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as err:
                    self._log_once(
                        f"cannot reach the supervisor at {self._path}: {err or type(err).__name__}"
                    )
                    self._delivered.clear()
                    await asyncio.sleep(RETRY_S)
                    self._changed.set()
                    break
                await asyncio.sleep(GAP_S)
            try:
                await asyncio.wait_for(self._changed.wait(), AGAIN_S)
            except TimeoutError:
                self._delivered.clear()

    async def _send(self, kind: str, pid: int, active: bool, why: str) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            hint: dict[str, object] = {"op": "hint", "kind": kind, "pid": pid, "active": active}
            if why:
                hint["why"] = why
            writer.write(json.dumps(hint | {"time_ns": time.monotonic_ns()}).encode() + b"\n")
            answer = json.loads(await reader.readuntil(b"\n"))
        finally:
            writer.close()
        self.sent += 1
        if kind == FOCUS:
            self._delivered = {
                key: value for key, value in self._delivered.items() if key[0] != FOCUS
            }
        self._delivered[kind, pid] = active, why
        if kind == GAMEMODE and not active:
            self._games.pop(pid, None)
            self._delivered.pop((kind, pid), None)
        refused = not isinstance(answer, dict) or answer.get("ok") is not True
        self._log_once(
            str(answer.get("error", answer)) if refused and isinstance(answer, dict) else ""
        )

    def _log_once(self, error: str) -> None:
        """Log an error unless it was the last one, too."""
        if error and error != self._error:
            log.warning("%s", error)
        self._error = error
