# SPDX-License-Identifier: GPL-2.0-or-later
"""Games of many threads and processes, pids used again, a player who looks away: still the right game."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from scx_gamer.control import ControlError
from scx_gamer.games.proc import ProcFs
from tests.vm.detect.conftest import CLASS_GAME, Desk, KernelMap
from tests.vm.harness import Supervised, wait_until
from tests.vm.promises.meters import BUSYBOX, exec_once

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def control(sup: Supervised, name: str) -> int:
    return int(sup.ask("snapshot")["control"][name][0])


_THREADS = """
import threading, time
def spin(): time.sleep(0.002)
while True:
    for t in [threading.Thread(target=spin) for _ in range(100)]:
        t.start()
    time.sleep(0.01)
"""
_CHILDREN = """
import os, time
for _ in range({count}):
    if os.fork() == 0:
        time.sleep(1000)
        os._exit(0)
time.sleep(1000)
"""


def start_python(desk: Desk, program: str) -> int:
    """Python under a game's name."""
    game = desk.program("snakerun")
    home = {"PYTHONHOME": sys.base_prefix}
    return desk.start(game, str(game), "-S", "-c", program, env=home)


def test_a_game_whose_threads_die_all_the_time_stays_the_game(
    desk: Desk, sup: Supervised, classes: KernelMap
) -> None:
    said = len(sup.text())
    pid = start_python(desk, _THREADS)
    wait_until("its class", lambda: classes.get(pid) == CLASS_GAME, 60)
    generation = sup.wait_state("attached")["generation"]
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        assert classes.get(pid) == CLASS_GAME
        time.sleep(0.05)
    assert [g["pid"] for g in sup.ask("games")] == [pid]
    assert sup.status()["generation"] == generation and "ended" not in sup.text()[said:]


def test_a_thousand_children_all_have_the_class_and_all_lose_it(
    desk: Desk, sup: Supervised, classes: KernelMap
) -> None:
    pid = start_python(desk, _CHILDREN.format(count=1000))
    wait_until("all of them", lambda: games_size(sup) == 1001, 200)
    children = [p.pid for p in map(ProcFs().read, ProcFs().pids()) if p and p.ppid == pid]
    assert len(children) == 1000
    wait_until("their class", lambda: all(classes.get(c) == CLASS_GAME for c in children), 60)
    desk.kill(pid)
    wait_until("nobody", lambda: not any(map(classes.get, children)), 60)
    wait_until("no game", lambda: not sup.ask("games"), 60)


def test_what_a_game_named_by_hand_started_before_is_in_it(
    desk: Desk, sup: Supervised, classes: KernelMap
) -> None:
    looks = looks_at_all(sup)
    wait_until("the look that comes by itself", lambda: looks_at_all(sup) > looks, 120)
    editor = desk.program("editor", sys.executable)  # nobody tells of its children
    pid = desk.start(
        editor,
        "-S",
        "-c",
        _CHILDREN.format(count=20),
        env={"PYTHONHOME": sys.base_prefix},
    )

    def children() -> list[int]:
        return [p.pid for p in map(ProcFs().read, ProcFs().pids()) if p and p.ppid == pid]

    wait_until("its children", lambda: len(children()) == 20)
    sup.ask("game_add", pid=pid)
    # the next look by itself is half a minute away
    wait_until("their class", lambda: all(classes.get(c) == CLASS_GAME for c in children()), 20)
    sup.ask("game_remove", pid=pid)


def looks_at_all(sup: Supervised) -> int:
    return int(sup.ask("snapshot")["detection"]["reconciles"])


def games_size(sup: Supervised) -> int:
    try:
        found = sup.ask("games")
    except ControlError:  # a CPU that a thousand processes share with it
        return 0
    return int(found[0]["processes"]) if found else 0


@pytest.mark.needs(str(LAST_PID))
def test_a_pid_that_is_used_again_is_another_process(
    desk: Desk, sup: Supervised, classes: KernelMap
) -> None:
    game, other = desk.program("blobfrenzy"), desk.program("editor", BUSYBOX)
    exits = events(sup, "EXIT")
    # it hears of the game when another process has the pid already
    os.kill(sup.pid, signal.SIGSTOP)
    try:
        pid = desk.start(game)
        desk.kill(pid)
        for _ in range(50):
            LAST_PID.write_text(str(pid - 1))
            again = desk.start(other)
            if again == pid:
                break
            desk.kill(again)
        assert again == pid
    finally:
        os.kill(sup.pid, signal.SIGCONT)
    wait_until("its events", lambda: events(sup, "EXIT") > exits, 60)
    time.sleep(0.5)
    assert classes.get(pid) is None and not sup.ask("explain", pid=pid)["game"]
    # and while it is known
    second = desk.start(game)
    wait_until("its class", lambda: classes.get(second) == CLASS_GAME, 60)
    desk.kill(second)
    LAST_PID.write_text(str(second - 1))
    exec_once(desk.program("true", BUSYBOX))
    wait_until("no class", lambda: classes.get(second) is None, 60)


def events(sup: Supervised, kind: str) -> int:
    return int(sup.ask("snapshot")["events"]["by_type"].get(kind, 0))


def test_alt_tab_changes_boosts_and_nothing_else(
    desk: Desk, sup: Supervised, classes: KernelMap
) -> None:
    playing = desk.start(desk.program("blobfrenzy"))
    browsing = desk.start(desk.program("browser", BUSYBOX))
    before = sup.wait_state("attached")

    def focus(pid: int) -> tuple[int, int]:
        sup.ask("hint", kind="focus", pid=pid)
        wait_until("the focus", lambda: control(sup, "focus_tgid") == pid, 60)
        return control(sup, "focus_tgid"), control(sup, "focus_away")

    assert focus(playing) == (playing, 0)
    assert focus(browsing) == (browsing, 1)
    assert classes.get(playing) == CLASS_GAME and classes.get(browsing) is None
    time.sleep(4)  # longer than the grace
    after = sup.status()
    for same in ("state", "generation", "profile"):
        assert after[same] == before[same]
    assert sup.ask("games")[0]["active"] and control(sup, "game_active") == 1
    assert focus(playing) == (playing, 0) and focus(0) == (0, 0)
    assert focus(browsing) == (browsing, 1)
    desk.kill(browsing)
    wait_until("nobody knows", lambda: control(sup, "focus_away") == 0, 60)
