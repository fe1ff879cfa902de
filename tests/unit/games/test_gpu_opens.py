# SPDX-License-Identifier: GPL-2.0-or-later
"""Opens of a GPU's device node bring a look forward, and no user makes that often."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scx_gamer.games.process_events import GpuOpens
from scx_gamer.system.loop import Loop


def test_an_open_is_told_and_many_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GpuOpens, "QUIET_S", 0.4)
    folder = tmp_path / "dri"
    node = folder / "renderD128"
    told: list[int] = []
    counts: dict[str, int] = {}
    with Loop() as loop:
        opens = GpuOpens(loop, lambda: told.append(loop.now_ns()), folder)
        opens.watch()  # before a driver made the folder
        folder.mkdir()
        node.touch()
        opens.watch()

        def touch_it() -> None:
            os.close(os.open(node, os.O_RDWR))

        def count(name: str) -> None:
            counts[name] = len(told)

        loop.call_later(0.02, lambda: print(os.listdir(folder)), name="a listing")
        loop.call_later(0.05, lambda: count("before"), name="before")
        for number in range(20):
            loop.call_later(0.1 + number / 100, touch_it, name="an open")
        loop.call_later(0.35, lambda: count("many"), name="many")
        loop.call_later(0.7, lambda: count("rested"), name="rested")
        loop.call_later(1.2, lambda: count("quiet"), name="quiet")
        loop.call_later(1.3, opens.close, name="close")
        loop.call_later(1.35, touch_it, name="an open")
        loop.call_later(1.4, loop.stop, name="enough")
        loop.run()
        assert opens._quiet_s == 0.8, "twice as long for who opens it again and again"
    assert counts == {"before": 0, "many": 1, "rested": 2, "quiet": 2} and len(told) == 2
