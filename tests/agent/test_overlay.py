# SPDX-License-Identifier: GPL-2.0-or-later
"""The copy of the supervisor's line for overlays: there while the line is, and never older than it."""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from scx_gamer.agent.model import AgentError
from scx_gamer.agent.overlay import OverlayLine, copy_of
from scx_gamer.system.files import write_atomic

PATIENCE_S = 30.0


async def until(what: Callable[[], bool], running: asyncio.Task[None]) -> None:
    for _ in range(int(PATIENCE_S / 0.02)):
        if what():
            return
        assert not running.done()
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come")


def test_the_copy_follows_the_line_and_goes_with_it(tmp_path: Path) -> None:
    line, copy = tmp_path / "run/hud", tmp_path / "home/.cache/scx-gamer/hud"
    mirror = OverlayLine(line, copy)

    def publish(text: str) -> None:
        write_atomic(line, text.encode(), 0o644, sync=False)

    def shows(text: str) -> bool:
        return copy.exists() and copy.read_text() == text

    async def scenario() -> None:
        with pytest.raises(AgentError, match="cannot copy"):
            await mirror.run(lambda *_: None)  # no supervisor yet
        assert not copy.exists()
        line.parent.mkdir()
        publish("scx_gamer: idle\n")
        task = asyncio.create_task(mirror.run(lambda *_: None))
        await until(lambda: shows("scx_gamer: idle\n"), task)
        assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
        before = copy.stat().st_ino
        publish("scx_gamer: attached  Doom\n")
        await until(lambda: shows("scx_gamer: attached  Doom\n"), task)
        assert copy.stat().st_ino != before  # replaced as a whole: no reader sees half a line
        write_atomic(line.with_name("status.json"), b"{}", 0o644, sync=False)
        line.unlink()
        await until(lambda: not copy.exists(), task)
        publish("x" * 5000)
        await until(lambda: shows("x" * 4096), task)
        shutil.rmtree(line.parent)
        with pytest.raises(AgentError, match="no supervisor runs"):
            await asyncio.wait_for(task, PATIENCE_S)
        assert not copy.exists()

    asyncio.run(scenario())


def test_an_end_of_the_agent_leaves_no_copy(tmp_path: Path) -> None:
    line, copy = tmp_path / "hud", tmp_path / "home/hud"
    line.write_text("scx_gamer: idle\n")

    async def scenario() -> None:
        task = asyncio.create_task(OverlayLine(line, copy).run(lambda *_: None))
        await until(copy.exists, task)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert not copy.exists()

    asyncio.run(scenario())


def test_it_is_in_the_user_s_cache() -> None:
    assert copy_of({"HOME": "/home/me"}) == Path("/home/me/.cache/scx-gamer/hud")
    assert copy_of({"HOME": "/home/me", "XDG_CACHE_HOME": "/c"}) == Path("/c/scx-gamer/hud")
    assert copy_of({"HOME": "/home/me", "XDG_CACHE_HOME": "c"}) == Path("/home/me/.cache/scx-gamer/hud")  # fmt: skip
