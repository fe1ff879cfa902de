# SPDX-License-Identifier: GPL-2.0-or-later
"""top: the live view in the terminal."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from scx_gamer.cli import remote
from scx_gamer.control import ControlError

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import SnapshotBody

_FIRST_S = 0.5  # until the first rates


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("top")
    def top(
        delay: Annotated[
            float, typer.Option("--delay", min=0.2, max=60, help="Seconds between two updates.")
        ] = 1.0,
    ) -> None:
        """Show classes, waits, input, cost and games live; q quits."""
        from scx_gamer.cli.terminal import Ended, Terminal

        first = _snapshot()  # before the screen changes, so that a missing supervisor is one line
        with Terminal() as terminal:
            try:
                _watch(terminal, first, delay)
            except Ended as ended:
                raise typer.Exit(ended.code) from None
            except KeyboardInterrupt:
                return


def _snapshot() -> SnapshotBody:
    answer = remote.request("snapshot")
    return cast("SnapshotBody", answer if isinstance(answer, dict) else {})


def _watch(terminal: Any, first: SnapshotBody, delay: float) -> None:
    from scx_gamer.cli import topview
    from scx_gamer.metrics import shipped_names

    classes = shipped_names().classes
    names = [classes[number] for number in sorted(classes)]
    view, threads, history = topview.View(), topview.Threads(), topview.History()
    color = "NO_COLOR" not in os.environ
    now, before, lost = first, first, ""
    now_at = before_at = time.monotonic()
    due = now_at + min(delay, _FIRST_S)
    rows: list[tuple[str, int, float]] = []
    while True:
        seconds = max(now_at - before_at, 1e-3)
        lines = topview.render(
            now, before, seconds, view, names, rows, terminal.size,
            color=color, lost=lost, history=history,
        )  # fmt: skip
        terminal.draw(lines)
        key = terminal.key(max(due - time.monotonic(), 0))
        if key is not None:
            if not view.press(key, now.get("games") or ()):
                return
            if view.pinned is not None and key == "p":
                rows = threads.sample(view.pinned, 0)
            continue
        if time.monotonic() < due:
            continue  # the terminal changed its size: draw the same figures
        due = time.monotonic() + delay
        try:
            newer = _snapshot()
        except ControlError as err:
            lost = f"{err.what}: waiting for the supervisor"
            continue
        lost = ""
        before, before_at, now, now_at = now, now_at, newer, time.monotonic()
        history.add(now, before, names, now_at - before_at)
        if view.pinned is not None:
            rows = threads.sample(view.pinned, now_at - before_at)
