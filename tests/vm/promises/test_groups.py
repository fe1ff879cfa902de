# SPDX-License-Identifier: GPL-2.0-or-later
"""cpu.max and cpu.weight of cgroups hold while our scheduler is attached."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from scx_gamer.scheduler.attached import kept_controls
from tests.vm.attach.conftest import Life, attach, attached, gone
from tests.vm.promises.groups import Group, groups
from tests.vm.promises.test_shares import ran_ns

FIFTH = "20000 100000"  # us of CPU time in us
SETTLE_S = 0.3
HOLD_MAX_S = 5.0  # SCXG_HOLD_MAX_NS


def share_of(life: Life, pids: Sequence[int], seconds: float) -> float:
    """The CPU time of all of them together, as a share of one CPU."""
    life.beat()
    before, then = [ran_ns(pid) for pid in pids], time.monotonic_ns()
    while (left := seconds - (time.monotonic_ns() - then) / 1e9) > 0:
        time.sleep(min(left, 1.0))
        life.beat()
    ran = sum(ran_ns(pid) - ns for pid, ns in zip(pids, before, strict=True))
    return ran / (time.monotonic_ns() - then)


def test_a_quota_holds_from_the_attach_on_and_ends_at_once() -> None:
    """Set before the attach; taken from one hog and given to many; set below another; lifted."""
    assert "cpu.max" in kept_controls(), "as doctor says"
    with groups("scxg-quota") as (group,):
        first, within = group.child("first"), group.child("within")
        group.set(max=FIFTH)
        hog = first.hog()
        with attach() as life:
            one = share_of(life, [hog], 3)
            others = [first.hog() for _ in range(5)]
            time.sleep(SETTLE_S)
            many = share_of(life, [hog, *others], 3)
            group.set(max="max")
            within.set(max=FIFTH)
            within.take(hog)
            lifted = share_of(life, others, 0.5)
            beside = share_of(life, [hog], 2)
            within.set(max="60000 100000")
            raised = share_of(life, [hog], 2)
            holds, held_ns = life.total("quota_holds"), life.total("quota_held_ns")
        assert gone()
    print(
        f"MEASURED quota of 20 %: one hog {one:.1%}, six {many:.1%}, in a cgroup within {beside:.1%};"
        f" of 60 %: {raised:.1%}; five after it was lifted: {lifted:.0%} of a CPU on four;"
        f" {holds} holds, {held_ns / 1e9:.1f} s"
    )
    assert one == pytest.approx(0.2, abs=0.03)
    assert many == pytest.approx(0.2, abs=0.03)
    assert beside == pytest.approx(0.2, abs=0.03)
    assert raised == pytest.approx(0.6, abs=0.09)
    assert lifted > 3.2
    assert holds > 10 and held_ns > 5e9


def test_the_tightest_of_nested_quotas_counts_and_the_game_is_not_held() -> None:
    with groups("scxg-outer") as (outer,):
        inner = outer.child("inner")
        outer.set(max=FIFTH)
        inner.set(max="80000 100000")
        hog, game = inner.hog(), inner.hog()
        with attach() as life:
            life.mark(game, "GAME")
            life.control.set("game_active", 1)
            share, free = share_of(life, [hog], 3), share_of(life, [game], 1)
            outer.set(max="max")
            time.sleep(SETTLE_S)
            wider = share_of(life, [hog], 2)
    print(f"MEASURED 20 % around 80 %: {share:.1%}, then {wider:.1%}; the game {free:.0%}")
    assert share == pytest.approx(0.2, abs=0.03)
    assert wider == pytest.approx(0.8, abs=0.12)
    assert free > 0.95


def test_nobody_waits_for_a_quota_for_longer_than_is_promised() -> None:
    """Twenty hogs and one percent: a turn of each is eight seconds of that; a hundred would meet the watchdog."""
    with groups("scxg-tight") as (group,):
        hogs = [group.hog() for _ in range(20)]
        with attach() as life:
            share_of(life, [], SETTLE_S)
            group.set(max="1000 100000")
            share_of(life, [], 1)
            before = {pid: ran_ns(pid) for pid in hogs}
            share = share_of(life, hogs, HOLD_MAX_S + 1)
            waiting = [pid for pid, ns in before.items() if ran_ns(pid) == ns]
            assert attached()
            group.set(max="max")
    print(f"MEASURED twenty hogs of 1 %: {share:.1%}, {len(waiting)} without a turn")
    assert not waiting
    assert share < 0.1


def test_a_cgroup_that_goes_leaves_no_task_behind() -> None:
    """Its quota ends for a task that waits for it, and so does the scheduler while one waits."""
    with groups("scxg-goes", "scxg-stays") as (goes, stays):
        goes.set(max="1000 1000000")
        hog = stays.hog(0)
        with attach() as life:
            share_of(life, [hog], SETTLE_S)
            goes.take(hog)
            held = share_of(life, [hog], 1)
            stays.take(hog)
            goes.remove()
            free = share_of(life, [hog], 0.5)
            stays.set(max="1000 1000000")
            share_of(life, [hog], 0.5)
        assert gone()
        stays.set(max="max")
        time.sleep(SETTLE_S)
        before = ran_ns(hog)
        time.sleep(0.5)
        after = ran_ns(hog) - before
    print(
        f"MEASURED 0.1 %: {held:.1%}, elsewhere {free:.0%}, after the scheduler {after / 5e8:.0%}"
    )
    assert held < 0.05
    assert free > 0.9 and after > 0.9 * 5e8


def heavy_to_light(life: Life, heavy: Sequence[int], light: Sequence[int], seconds: float) -> float:
    life.beat()
    before = [ran_ns(pid) for pid in (*heavy, *light)]
    share_of(life, [], seconds)
    ran = [ran_ns(pid) - ns for pid, ns in zip((*heavy, *light), before, strict=True)]
    return sum(ran[: len(heavy)]) / sum(ran[len(heavy) :])


def test_a_cgroup_of_idle_tasks_comes_last() -> None:
    """As SCHED_IDLE: found at the attach, and in one below it; when it is set or lifted; when a task comes or goes."""
    told = "cpu.idle" in kept_controls()
    with groups("scxg-idle", "scxg-busy") as (idle, busy):
        within = idle.child("within")
        idle.set(idle="1")
        hog, _ = within.hog(0), busy.hog(0)

        def share() -> float:
            share_of(life, [], SETTLE_S)
            return share_of(life, [hog], 2)

        with attach() as life:
            found = share()
            busy.take(hog)
            moved = share()
            within.take(hog)
            back = share()
            if told:
                idle.set(idle="0")
                lifted = share()
                idle.set(idle="1")
                again = share()
    print(
        f"MEASURED a hog with cpu.idle beside one without: {found:.1%},"
        f" in the other's cgroup {moved:.1%}, back {back:.1%}"
        + (f", lifted {lifted:.1%}, set {again:.1%}" if told else "")
    )
    assert found < 0.05 and back < 0.05
    assert moved == pytest.approx(0.5, abs=0.05)
    if told:
        assert lifted == pytest.approx(0.5, abs=0.05)
        assert again < 0.05


def weigh(*pairs: tuple[Group, int]) -> None:
    for group, weight in pairs:
        group.set(weight=str(weight))


def test_cgroups_share_by_their_weights() -> None:
    """On one CPU, where each turn counts: the weight is the cgroup's, however many hogs it has."""
    assert "cpu.weight" in kept_controls()
    with groups("scxg-heavy", "scxg-light") as (heavy, light):
        weigh((heavy, 1000), (light, 10))
        first, second = heavy.hog(0), light.hog(0)
        with attach() as life:
            share_of(life, [], SETTLE_S)
            hundred = heavy_to_light(life, [first], [second], 10)
            weigh((heavy, 400), (light, 100))
            share_of(life, [], SETTLE_S)
            four = heavy_to_light(life, [first], [second], 3)
            third = heavy.hog(0)
            share_of(life, [], SETTLE_S)
            shared = heavy_to_light(life, [first, third], [second], 3)
            life.control.set("game_active", 1)
            life.beat()
            equal = heavy_to_light(life, [first], [second], 1)
    print(
        f"MEASURED weights 1000:10 {hundred:.1f}, 400:100 {four:.2f}, with two hogs in the heavy one"
        f" {shared:.2f}; one of each while a game is active {equal:.2f}"
    )
    assert hundred == pytest.approx(100, rel=0.15)
    assert four == pytest.approx(4, rel=0.15)
    assert shared == pytest.approx(4, rel=0.15)
    assert equal == pytest.approx(1, rel=0.15), "the order that it was"
