# SPDX-License-Identifier: GPL-2.0-or-later
"""Clean-up of limits, whatever happens to the programs, their cgroups or the supervisor, as bpftool sees it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from scx_gamer import control
from scx_gamer.config.network import Limit
from scx_gamer.libbpf import BpfError, Object, find_object
from scx_gamer.libbpf._native import real, stand_in
from scx_gamer.netlimit import programs
from scx_gamer.netlimit.cgroups import Member
from scx_gamer.netlimit.errors import NetError
from scx_gamer.netlimit.programs import Programs
from scx_gamer.netlimit.registry import Registry
from scx_gamer.system.loop import Loop
from tests.ownership import Book
from tests.vm.harness import Supervised, wait_until
from tests.vm.netlimit.world import PAIR, ROOT, Cgroup, attach_for_good, limits, tree, typed

RATES = {"down": "8 Mbit/s", "up": "4 Mbit/s"}
Make = Callable[[str], Cgroup]


def limit(sup: Supervised, pid: int, **more: str) -> dict[str, object]:
    answer = sup.ask("net_limit", target=str(pid), **{**RATES, **more})
    assert isinstance(answer, dict)
    return answer


def test_removed_by_hand(sup: Supervised, cgroup: Make) -> None:
    group = cgroup("scxg-a")
    pid = group.sleeper().pid
    done = typed(
        sup, "net", "limit", str(pid), "--down", "8 Mbit/s", "--up", "500 kB/s", "--for", "1h"
    )
    assert done.returncode == 0, done.stderr
    said = r"8 Mbit/s down, 4 Mbit/s up, internet only, (3600|35\d\d) s left"
    assert re.search(said, done.stdout), done.stdout
    assert tree() == {group.path: PAIR}
    sup.ask("net_release", target=str(pid))
    assert tree() == {} and limits(sup) == {}
    with pytest.raises(control.ControlError, match="has no limit of the user"):
        sup.ask("net_release", target=str(pid))


def test_detached_with_the_process_and_not_with_the_next_sweep(
    sup: Supervised, cgroup: Make
) -> None:
    group = cgroup("scxg-a")
    for _ in range(3):
        process = group.sleeper()
        limit(sup, process.pid)
        process.kill()
        process.wait(20)
        for _ in range(2):  # the first may be answered before the end is heard of
            sup.ask("net_status")
        assert tree() == {}
    wait_until("forgotten", lambda: sup.ask("net_status")["wishes"] == [], 60)


def test_several_processes_in_one_cgroup_go_with_the_last(sup: Supervised, cgroup: Make) -> None:
    group = cgroup("scxg-a")
    held = [group.sleeper() for _ in range(3)]
    for process in held:
        limit(sup, process.pid)
    assert limits(sup)[group.path]["processes"] == 3
    assert tree() == {group.path: PAIR}, "one pair, however many hold it"
    for process in held[:2]:
        process.kill()
        process.wait(10)
        time.sleep(0.5)
        assert tree() == {group.path: PAIR}
    held[2].kill()
    wait_until("detached", lambda: tree() == {}, 60)


def test_the_smallest_limit_of_the_holders_counts(sup: Supervised, cgroup: Make) -> None:
    group = cgroup("scxg-a")
    one, other = group.sleeper(), group.sleeper()
    limit(sup, one.pid, down="8 Mbit/s", up="unlimited")
    limit(sup, other.pid, down="16 Mbit/s", up="2 Mbit/s")
    row = limits(sup)[group.path]
    assert (row["down_bytes_per_s"], row["up_bytes_per_s"]) == (1_000_000, 250_000)
    one.kill()
    wait_until("raised", lambda: limits(sup)[group.path]["down_bytes_per_s"] == 2_000_000, 60)


def test_three_changes_and_one_release(sup: Supervised, cgroup: Make) -> None:
    group = cgroup("scxg-a")
    pid = group.sleeper().pid
    for down in ("8 Mbit/s", "16 Mbit/s", "4 Mbit/s"):
        limit(sup, pid, down=down)
        assert tree() == {group.path: PAIR} and limits(sup)[group.path]["processes"] == 1
    assert limits(sup)[group.path]["down_bytes_per_s"] == 500_000, "the last one holds"
    sup.ask("net_release", target=str(pid))
    assert tree() == {} and limits(sup) == {}


def test_removing_one_leaves_the_other(sup: Supervised, cgroup: Make) -> None:
    one, other = cgroup("scxg-a"), cgroup("scxg-b")
    first, second = one.sleeper(), other.sleeper()
    limit(sup, first.pid)
    limit(sup, second.pid)
    assert tree() == {one.path: PAIR, other.path: PAIR}
    sup.ask("net_release", target=str(first.pid))
    assert tree() == {other.path: PAIR}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_our_end_with_several_limits_some_of_their_processes_dead(
    own: Supervised, cgroup: Make, number: signal.Signals
) -> None:
    groups = [cgroup(f"scxg-{name}") for name in "abc"]
    held = [group.sleeper() for group in groups]
    for process in held:
        limit(own, process.pid)
    extra = groups[1].sleeper()
    limit(own, extra.pid)
    assert tree() == {group.path: PAIR for group in groups}
    held[0].kill()
    held[1].kill()
    own.end(number)
    wait_until("detached", lambda: tree() == {}, 60)
    assert held[2].poll() is None, "the programs themselves are left alone"


def test_a_limited_cgroup_removed_under_us(sup: Supervised, cgroup: Make) -> None:
    group, other = cgroup("scxg-a"), cgroup("scxg-b")
    process, stays = group.sleeper(), other.sleeper()
    limit(sup, process.pid)
    limit(sup, stays.pid)
    # the process moves on, and its cgroup goes while the process still holds the limit
    (other.folder / "cgroup.procs").write_text(str(process.pid))
    group.folder.rmdir()
    wait_until("forgotten", lambda: group.path not in limits(sup), 60)
    assert tree() == {other.path: PAIR}
    assert limits(sup)[other.path]["processes"] == 2, "it is limited where it is now"
    assert sup.ask("net_status")["orphans"] == 0
    group.folder.mkdir()  # the same name is another cgroup
    again = group.sleeper()
    limit(sup, again.pid)
    assert tree() == {group.path: PAIR, other.path: PAIR}


def test_a_time_ends_a_limit(sup: Supervised, cgroup: Make) -> None:
    group = cgroup("scxg-a")
    limit(sup, group.sleeper().pid, **{"for": "5s"})
    assert tree() == {group.path: PAIR}
    wait_until("over", lambda: tree() == {}, 60)


def test_refusals_name_their_reason(sup: Supervised, cgroup: Make) -> None:
    group = cgroup("scxg-a")
    process, neighbour = group.sleeper(), group.sleeper()
    asked = dict(RATES)
    for words, says in (
        ({"target": "1", **asked}, "root cgroup"),
        ({"target": "exe:no-such-program", **asked}, "no process matches exe:no-such-program"),
        ({"target": str(process.pid), "down": "fast"}, "write a rate such as"),
        ({"target": str(process.pid)}, "no rate was given"),
        ({"target": str(process.pid), **asked, "for": "soon"}, "write a time such as"),
        ({"target": str(process.pid), **asked, "kind": "thread"}, "cgroup, task"),
        ({"target": "net:work", **asked}, "give a process ID"),
    ):
        with pytest.raises(control.ControlError) as caught:
            sup.ask("net_limit", **words)
        assert says in str(caught.value) and "\n" not in str(caught.value)
    assert tree() == {}
    sup.ask("game_add", pid=neighbour.pid)
    with pytest.raises(control.ControlError) as caught:
        limit(sup, process.pid)
    assert f"contains the game (process {neighbour.pid}, sleep)" in str(caught.value)
    assert "--kind task" in str(caught.value)
    assert tree() == {}
    sup.ask("game_remove", pid=neighbour.pid)
    limit(sup, process.pid)
    assert tree() == {group.path: PAIR}
    sup.ask("game_add", pid=neighbour.pid)
    wait_until("lifted for the game", lambda: tree() == {}, 60)
    sup.ask("game_remove", pid=neighbour.pid)


def test_what_another_holds_open_is_taken_all_the_same(cgroup: Make) -> None:
    """An orphan: our program is on the cgroup by a link that is not the registry's."""
    group = cgroup("scxg-a")
    process = group.sleeper()
    with Loop() as loop:
        kernel_side = Programs()
        registry = Registry(loop, kernel_side, ROOT, lambda _wish: None)
        entry = registry.hold(Member(process.pid, group.path), "test", Limit(10**6, 0))
        assert entry is not None
        fd = os.open(group.folder, os.O_RDONLY)
        foreign = kernel_side.object.programs[programs.UP].attach_cgroup(fd)
        registry.release("test")
        assert tree() == {} and registry.stuck == {}
        # one that cannot be detached is kept, told, and tried again
        foreign.close()
        foreign = kernel_side.object.programs[programs.UP].attach_cgroup(fd)
        entry = registry.hold(Member(process.pid, group.path), "test", Limit(10**6, 0))
        kernel_side.detach_all = lambda cgroup: None  # type: ignore[method-assign]
        registry.release("test")
        assert len(registry.stuck) == 1 and registry.stuck_total == 1
        assert tree() == {group.path: ["scxg_net_up"]}
        del kernel_side.detach_all
        registry.check()
        assert registry.stuck == {} and tree() == {}
        foreign.close()
        os.close(fd)
        registry.close()
        kernel_side.close()


def test_what_an_earlier_life_left_is_found_and_taken(cgroup: Make) -> None:
    """A legacy attachment stays for ever, and a link as long as anybody holds it: both are ours by their names."""
    group = cgroup("scxg-a")
    fd = os.open(group.folder, os.O_RDONLY)
    with Object.open(find_object("netlimit")) as older:
        older.load()
        link = older.programs[programs.UP].attach_cgroup(fd)
        attach_for_good(older, group)
    try:
        assert tree() == {group.path: PAIR}
        assert {name for _p, name, _n, _k in programs.leftovers(ROOT)} == set(PAIR)
        assert programs.remove_leftovers(ROOT) == 2
        assert tree() == {}
    finally:
        link.close()
        os.close(fd)


def life(kernel_side: Programs, group: Cgroup, pid: int) -> None:
    """A limit is set, changed, moved to the process alone, and released. Raises what a failing call leads to."""
    with ExitStack() as stack:
        loop = stack.enter_context(Loop())
        registry = Registry(loop, kernel_side, ROOT, lambda _wish: None)
        stack.callback(registry.close)
        member = Member(pid, group.path)
        try:
            for asked in (Limit(10**6, 0), Limit(10**5, 10**5), Limit(10**6, 0, kind="task")):
                registry.hold(member, "test", asked)
        finally:
            registry.release("test")
            registry.check()
            assert registry.entries == {} and registry.stuck == {}


def fail_each(life: Callable[[], None]) -> list[str]:
    """Return the calls of a life, after each of them failed once and its effects were undone."""
    calls: list[str] = []
    failed = 0
    while failed <= len(calls):
        book = Book(real(), failed)
        raised = None
        with stand_in(book):
            try:
                life()
            except (NetError, BpfError) as err:
                raised = err
        assert book.close() == [], f"{book.failed} failed"
        assert programs.leftovers(ROOT) == []
        if not failed:
            assert raised is None
            calls = list(book.calls)
        failed += 1
    return calls


def test_any_call_of_a_limit_may_fail(cgroup: Make) -> None:
    group = cgroup("scxg-a")
    pid = group.sleeper().pid
    kernel_side = Programs()
    try:
        calls = fail_each(lambda: life(kernel_side, group, pid))
    finally:
        kernel_side.close()
    print(f"{len(calls)} calls failed, one at a time: {sorted(set(calls))}")
    assert len(calls) > 10
    assert tree() == {}


def test_any_call_of_the_load_may_fail() -> None:
    """Without the programs of kind `task` it goes on; whatever else fails is told."""
    calls = fail_each(lambda: Programs().close())
    print(f"{len(calls)} calls failed, one at a time: {sorted(set(calls))}")
    assert "bpf_object__load" in calls
