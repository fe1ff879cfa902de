# SPDX-License-Identifier: GPL-2.0-or-later
"""Full rings in both directions, and messages of another generation: counted, nothing ejected."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from scx_gamer.observe.observer import Observer
from scx_gamer.scheduler import topology
from scx_gamer.scheduler.attached import AttachedScheduler
from scx_gamer.system.loop import Loop
from tests.vm.promises.meters import BUSYBOX


@pytest.fixture
def observe() -> Iterator[Observer]:
    with ExitStack() as stack:
        loop = stack.enter_context(Loop())
        found = Observer(loop)
        stack.callback(found.close)
        found.set_generation(5)
        yield found


def test_stale_message_is_dropped_and_counted(observe: Observer) -> None:
    observe.feed.send("GAME_ACTIVE", value=1)
    observe.feed.flush()
    assert observe.control.get("game_active") == 1
    observe.feed.generation = 4
    observe.feed.send("GAME_ACTIVE", value=0)
    observe.feed.flush()
    assert observe.control.get("msgs_stale") == 1 and observe.control.get("game_active") == 1


def test_full_control_ring(observe: Observer) -> None:
    lane = observe.abi.constants["SCXG_LANE_MOUSE"]
    life = AttachedScheduler(observe, topology.read(), 5)
    try:
        sent = 0
        while observe.feed.send("INPUT", index=lane) and sent < 5000:
            sent += 1
        assert 500 < sent < 5000 and observe.feed.dropped["INPUT"] == 1
        assert observe.feed.send("CLASS_SET", tgid=1, class_id=3) and observe.feed.waiting == 1
        observe.feed.flush()
        assert observe.feed.waiting == 0
        messages = observe.control.array("msgs")
        assert messages[observe.abi.constants["SCXG_MSG_INPUT"]] == sent
        assert messages[observe.abi.constants["SCXG_MSG_CLASS_SET"]] == 1
        assert life.ended() is None
    finally:
        life.close()


def test_full_event_ring(observe: Observer) -> None:
    observe.control.set("watch_execs", 1)
    life = AttachedScheduler(observe, topology.read(), 5)
    try:
        for _ in range(120):
            subprocess.run(["sh", "-c", 20 * f"{BUSYBOX} true; "], check=True)
            if observe.control.get("events_lost"):
                break
        assert observe.control.get("events_lost") > 0 and life.ended() is None
        assert observe.ring.consume(100) == 100  # bounded
        while observe.ring.consume(256):
            pass
        before = observe.events["EXEC"]
        subprocess.run(["/bin/true"], check=True)
        observe.ring.consume(256)
        assert observe.events["EXEC"] > before
    finally:
        life.close()
