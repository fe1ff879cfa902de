# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapter of niri, whose event stream begins with all windows and goes on with changes."""

from __future__ import annotations

from typing import Any

from scx_gamer.agent.model import FOCUS, AgentError, Report, connect, decoded, line_of, pid_of

_MAX_WINDOWS = 4096


class Niri:
    """The adapter of niri."""

    name = "niri"

    def __init__(self, path: str) -> None:
        self._path = path
        self._pids: dict[object, int] = {}  # window -> process
        self._focus: object = None

    async def run(self, report: Report) -> None:
        reader, writer = await connect(self._path, self.name)
        try:
            writer.write(b'"EventStream"\n')
            answer = decoded(await line_of(reader, self.name), self.name)
            if not isinstance(answer, dict) or "Ok" not in answer:
                raise AgentError(
                    "niri refused the event stream", hint="this version of niri has no event stream"
                )
            while True:
                event = decoded(await line_of(reader, self.name), self.name)
                if isinstance(event, dict) and self.apply(event):
                    report(FOCUS, self._pids.get(self._focus, 0), True)
        finally:
            writer.close()

    def apply(self, event: dict[str, Any]) -> bool:
        """Apply an event. Return True if it was about windows; other events are ignored."""
        for kind, body in event.items():
            body = body if isinstance(body, dict) else {}
            if kind == "WindowsChanged":
                self._pids.clear()
                self._focus = None
                windows = body.get("windows")
                for window in windows if isinstance(windows, list) else ():
                    self._put(window)
            elif kind == "WindowOpenedOrChanged":
                self._put(body.get("window"))
            elif kind == "WindowClosed":
                self._pids.pop(_key(body.get("id")), None)
            elif kind == "WindowFocusChanged":
                self._focus = _key(body.get("id"))
            else:
                continue
            return True
        return False

    def _put(self, window: object) -> None:
        if not isinstance(window, dict) or len(self._pids) >= _MAX_WINDOWS:
            return
        key = _key(window.get("id"))
        self._pids[key] = pid_of(window.get("pid"))
        if window.get("is_focused") is True:
            self._focus = key


def _key(value: object) -> int | None:
    return value if type(value) is int else None
