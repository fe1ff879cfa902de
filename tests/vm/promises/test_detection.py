# SPDX-License-Identifier: GPL-2.0-or-later
"""Latency and cost of detection, beside 200 unrelated programs a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.games.detector import RECONCILE_S
from scx_gamer.games.threads import NO_GAME
from tests.vm.detect.conftest import CLASS_GAME, Desk, KernelMap
from tests.vm.harness import Supervised, hooks, wait_until
from tests.vm.promises.meters import BUSYBOX, Spawner

RATE = 200.0
LATE_MS = 20.0  # from exec to the class in the kernel's map, 99 of 100
OFF_S = 1.0  # from a game's end to its boosts'
MOST = 0.01  # of one CPU with no game
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
OURS = ("on_exec", "on_exit", "on_fork", "on_rename")


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


@pytest.fixture
def spawner(desk: Desk) -> Spawner:
    return Spawner(desk.root / "count", desk.program("true", BUSYBOX))


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
    sup: Supervised, spawner: Spawner, bpf_stats: None
) -> None:
    look = after_a_full_look(sup)
    before, cpu_s, began = sup.ask("snapshot"), sup.cpu_s(), time.monotonic()
    with spawner.running(RATE):
        time.sleep(10)
        elapsed, spent = time.monotonic() - began, sup.cpu_s() - cpu_s
        rate = len(spawner.took_s()) / elapsed
    after = sup.ask("snapshot")
    told = after["control"]["execs_told"][0] - before["control"]["execs_told"][0]
    kernel = hooks_s(after) - hooks_s(before)
    share = (spent + kernel) / elapsed + look / RECONCILE_S
    print(
        f"MEASURED no game, {rate:.0f} execs a second, {told} told: supervisor {spent / elapsed:.3%}, hooks "
        f"{kernel / elapsed:.3%}, full looks {look / RECONCILE_S:.3%}: {share:.3%} of one CPU"
    )
    assert rate > 0.8 * RATE
    assert told <= 0.02 * rate * elapsed, "execs that nobody looks for stay in the kernel"
    assert share < MOST


def test_from_exec_to_class(desk: Desk, sup: Supervised, spawner: Spawner) -> None:
    game, rounds = desk.program("blobfrenzy"), 100
    # The first of a session also has the scheduler, the hooks on threads and the session's own loaded, each of which
    # keeps the supervisor for a while.
    first = desk.start(game)
    sup.wait_state("attached")
    wait_until("the hooks", lambda: sup.status()["detection"]["threads_why"] != NO_GAME, 60)
    wait_until("the session's hooks", partial(hooks, "count_wakeup"), 60)
    before = sup.ask("snapshot")["control"]["class_delay_hist"]
    with spawner.running(RATE):
        began, known = time.monotonic(), len(spawner.took_s())
        for _ in range(rounds):
            pid = desk.start(game)
            time.sleep(0.15)
            desk.kill(pid)
        rate = (len(spawner.took_s()) - known) / (time.monotonic() - began)
    after = sup.ask("snapshot")["control"]["class_delay_hist"]
    desk.kill(first)
    hist = [b - a for a, b in zip(before, after, strict=True)]
    p50, p99 = percentile_ms(hist, 0.5), percentile_ms(hist, 0.99)
    print(
        f"MEASURED exec to class in the kernel's map, {sum(hist)} times beside {rate:.0f} other execs a second: "
        f"p50 <= {p50:.1f} ms, p99 <= {p99:.1f} ms"
    )
    assert rate > 0.8 * RATE and sum(hist) == rounds
    assert p99 < LATE_MS


def has_class(classes: KernelMap, pid: int) -> bool:
    return classes.get(pid) == CLASS_GAME


def test_boosts_end_with_the_game(
    desk: Desk, sup: Supervised, classes: KernelMap, spawner: Spawner
) -> None:
    game, took = desk.program("blobfrenzy"), []
    with spawner.running(RATE):
        for _ in range(10):
            pid = desk.start(game)
            wait_until("its class", partial(has_class, classes, pid), 60)
            sup.wait_state("attached")
            desk.kill(pid)
            began = time.monotonic()
            while sup.ask("snapshot")["control"]["game_active"][0] or classes.get(pid) is not None:
                assert time.monotonic() - began < 60
                time.sleep(0.01)
            took.append(time.monotonic() - began)
            assert sup.state() == "attached", "the grace: it may come back"
    print(f"MEASURED a game's end to its boosts': worst of {len(took)} {1000 * max(took):.0f} ms")
    assert max(took) < OFF_S
