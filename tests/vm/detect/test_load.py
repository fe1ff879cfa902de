# SPDX-License-Identifier: GPL-2.0-only
"""Detection beside a machine full of other processes: how late, how much, and still the right game."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.bench.verdict import quantile
from scx_gamer.control import ControlError
from scx_gamer.games.proc import ProcFs
from scx_gamer.games.room import RECONCILE_S
from scx_gamer.games.threads import NO_GAME
from tests.vm.detect.conftest import CLASS_GAME, Desk, KernelMap
from tests.vm.detect.meters import BUSYBOX, NATIVE_EXEC_S, Spawner, emulation, exec_once
from tests.vm.harness import Supervised, wait_until

RATE = 200.0
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
OURS = ("on_exec", "on_exit", "on_fork", "on_rename")


def control(sup: Supervised, name: str) -> int:
    return int(sup.ask("snapshot")["control"][name][0])


def percentile_ms(hist: list[int], share: float) -> float:
    """Upper end of the bucket in which `share` of the counts is reached; buckets are powers of two of 1 us."""
    left = share * sum(hist)
    for number, count in enumerate(hist):
        left -= count
        if left <= 0:
            return 2.0**number / 1000
    raise AssertionError("an empty histogram")


@pytest.fixture
def bpf_stats() -> Iterator[None]:
    STATS.write_text("1")
    yield
    STATS.write_text("0")


def hooks_s(snapshot: dict[str, Any]) -> float:
    programs = snapshot["programs"]
    return float(sum(programs[name][0] for name in OURS if name in programs)) / 1e9


def after_a_full_look(sup: Supervised) -> float:
    """Waits for the next reading of all of /proc, which comes every RECONCILE_S; its CPU time."""

    def state() -> tuple[int, float]:
        return int(sup.status()["detection"]["reconciles"]), sup.cpu_s()

    before, cpu_s = state()
    while True:
        time.sleep(0.5)
        now, now_s = state()
        if now > before:
            return now_s - cpu_s
        before, cpu_s = now, now_s


def test_what_unrelated_execs_cost_with_no_game(
    desk: Desk, sup: Supervised, bpf_stats: None
) -> None:
    nothing = desk.program("true", BUSYBOX)
    factor = emulation(nothing)
    spawner = Spawner(desk.root / "cost", nothing)
    look = after_a_full_look(sup)
    quiet_s, began = sup.cpu_s(), time.monotonic()
    time.sleep(8)
    idle = (sup.cpu_s() - quiet_s) / (time.monotonic() - began)
    before, cpu_s, began = sup.ask("snapshot"), sup.cpu_s(), time.monotonic()
    with spawner.running(RATE):
        time.sleep(8)
        elapsed = time.monotonic() - began
        execs = len(spawner.took_s())
        spent = sup.cpu_s() - cpu_s
    after = sup.ask("snapshot")
    told = after["control"]["execs_told"][0] - before["control"]["execs_told"][0]
    kernel = hooks_s(after) - hooks_s(before)
    per_exec = (max(0.0, spent - idle * elapsed) + kernel) / execs
    share = RATE * per_exec / factor
    always = (idle + look / RECONCILE_S) / factor
    print(
        f"{execs / elapsed:.0f} execs a second, {told} told; in {elapsed:.1f} s the supervisor {spent:.2f} s, "
        f"the hooks {kernel:.3f} s: {1e6 * per_exec:.0f} us an exec on a CPU {factor:.0f} times slower, that is "
        f"{100 * share:.3f} % of one CPU at {RATE:.0f} a second, beside {100 * always:.3f} % always"
    )
    assert execs > 20
    assert told <= 0.02 * execs, "execs that nobody looks for stay in the kernel"
    assert share + always < 0.01


def test_exec_to_class_beside_unrelated_execs(desk: Desk, sup: Supervised) -> None:
    nothing, game = desk.program("true", BUSYBOX), desk.program("blobfrenzy")
    spawner = Spawner(desk.root / "count", nothing)
    slower, rounds = emulation(nothing), 40
    # The first of a session also has the scheduler and the hooks on threads loaded, which keeps the supervisor a while.
    desk.start(game)
    sup.wait_state("attached")
    wait_until("the hooks", lambda: sup.status()["detection"]["threads_why"] != NO_GAME, 60)
    before = sup.ask("snapshot")["control"]["class_delay_hist"]
    # An emulated CPU does not execute 200 programs a second: then as many as it can, which leaves it no idle time.
    with spawner.running(RATE):
        began = time.monotonic()
        for _ in range(rounds):
            desk.start(game)
            time.sleep(0.3)
        rate = len(spawner.took_s()) / (time.monotonic() - began)
        time.sleep(3)
    after = sup.ask("snapshot")["control"]["class_delay_hist"]
    hist = [b - a for a, b in zip(before, after, strict=True)]
    p50, p99 = percentile_ms(hist, 0.5), percentile_ms(hist, 0.99)
    # What the others took in the same time says how far delays were apart on this CPU, whoever made them.
    worst = quantile(spawner.took_s(), 0.99) / NATIVE_EXEC_S
    print(
        f"exec to class in the kernel's map, {sum(hist)} times, {rate:.0f} other execs a second on a CPU "
        f"{slower:.0f} times slower: p50 <= {p50:.1f} ms, p99 <= {p99:.1f} ms; "
        f"the p99 of the others' execs is {worst:.0f} times that of a real CPU"
    )
    assert sum(hist) >= 0.9 * rounds
    assert p50 <= 20 * slower and p99 <= 20 * max(slower, worst)


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
for _ in range(1000):
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
    pid = start_python(desk, _CHILDREN)
    wait_until("all of them", lambda: games_size(sup) == 1001, 200)
    children = [p.pid for p in map(ProcFs().read, ProcFs().pids()) if p and p.ppid == pid]
    assert len(children) == 1000
    assert all(classes.get(child) == CLASS_GAME for child in children)
    desk.kill(pid)
    wait_until("nobody", lambda: not any(map(classes.get, children)), 60)
    wait_until("no game", lambda: not sup.ask("games"), 60)


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
    pid = desk.start(game)
    desk.kill(pid)
    for _ in range(50):
        LAST_PID.write_text(str(pid - 1))
        again = desk.start(other)
        if again == pid:
            break
        desk.kill(again)
    assert again == pid
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
        sup.ask("hint", source="test", kind="focus", pid=pid)
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
