# SPDX-License-Identifier: GPL-2.0-only
"""top: the live view in the terminal."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import SnapshotBody


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("top")
    def top(
        delay: Annotated[
            float, typer.Option("--delay", min=0.2, max=60, help="Seconds between two pictures.")
        ] = 1.0,
    ) -> None:
        """Watch classes, waits, input, cost and games live; q ends it."""
        from scx_gamer.cli.terminal import Ended, Terminal

        first = _snapshot()  # not running is said as one line, before the screen is taken
        with Terminal() as terminal:
            try:
                _watch(terminal, first, delay)
            except Ended as ended:
                raise typer.Exit(ended.code) from None
            except KeyboardInterrupt:
                return


def _snapshot() -> SnapshotBody:
    from scx_gamer.cli import remote

    answer = remote.request("snapshot")
    return cast("SnapshotBody", answer if isinstance(answer, dict) else {})


def _watch(terminal: Any, first: SnapshotBody, delay: float) -> None:
    from scx_gamer.cli import topview
    from scx_gamer.control import ControlError
    from scx_gamer.metrics import shipped_names

    classes = shipped_names().classes
    names = [classes[number] for number in sorted(classes)]
    view, threads = topview.View(), topview.Threads()
    color = "NO_COLOR" not in os.environ
    now, before, lost = first, first, ""
    now_at = before_at = time.monotonic()
    due = now_at + min(delay, 0.5)  # the first rates soon
    rows: list[tuple[str, int, float]] = []
    while True:
        seconds = max(now_at - before_at, 1e-3)
        lines = topview.render(
            now, before, seconds, view, names, rows, terminal.size, color=color, lost=lost
        )
        terminal.draw(lines)
        key = terminal.key(max(due - time.monotonic(), 0))
        if key is not None:
            if not view.press(key, now.get("games") or ()):
                return
            if view.pinned is not None and key == "p":
                rows = threads.look(view.pinned, 0)
            continue
        if time.monotonic() < due:
            continue  # another size: the same figures again
        due = time.monotonic() + delay
        try:
            newer = _snapshot()
        except ControlError as err:
            lost = f"{err.what}: waiting for it"
            continue
        lost = ""
        before, before_at, now, now_at = now, now_at, newer, time.monotonic()
        if view.pinned is not None:
            rows = threads.look(view.pinned, now_at - before_at)
