# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry of limited cgroups, with real processes and a fake kernel that fails a chosen call."""

from __future__ import annotations

import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scx_gamer.config.network import Limit
from scx_gamer.libbpf import BpfError
from scx_gamer.netlimit.cgroups import Member
from scx_gamer.netlimit.errors import NetError
from scx_gamer.netlimit.registry import Registry, smallest
from scx_gamer.system.loop import Loop
from tests.processes import running

SLOTS = 5


class FakeSlot:
    def __init__(self) -> None:
        self.values: dict[str, int] = defaultdict(int)

    def get(self, path: str) -> int:
        return self.values[path]

    def set(self, path: str, value: int) -> None:
        self.values[path] = value


class FakeKernel:
    """A fake of Programs that records which programs are attached to which cgroup."""

    task_error = ""

    def __init__(self, fail_at: int = 0) -> None:
        self.slots = [FakeSlot() for _ in range(SLOTS)]
        self.attached: dict[int, int] = {}  # cgroup → slot
        self.tasks: dict[int, int] = {}
        self.holds_on = False  # closing a link ends nothing
        self.calls, self._fail_at = 0, fail_at

    def call(self, what: str) -> None:
        self.calls += 1
        if self.calls == self._fail_at:
            raise BpfError(what, 5)

    @property
    def slot_count(self) -> int:
        return SLOTS

    def slot(self, number: int) -> FakeSlot:
        return self.slots[number]

    def attach(self, cgroup_fd: int, cgroup: int) -> FakeAttachment:
        self.call("attach")
        assert cgroup not in self.attached, "two links on one cgroup count twice"
        assert os.fstat(cgroup_fd).st_ino == cgroup
        self.attached[cgroup] = 0
        return FakeAttachment(self, cgroup)

    def detach_all(self, cgroup: int) -> None:
        self.call("detach")
        if not self.holds_on:
            self.attached.pop(cgroup, None)

    def name_task(self, tgid: int, serial: int) -> None:
        self.tasks[tgid] = serial
        self.call("name task")

    def forget_task(self, tgid: int, *, alive: bool) -> None:
        self.tasks.pop(tgid, None)
        self.call("forget task")


class FakeAttachment:
    def __init__(self, kernel: FakeKernel, cgroup: int) -> None:
        self._kernel, self._cgroup = kernel, cgroup

    def use_slot(self, number: int) -> None:
        self._kernel.call("use slot")
        self._kernel.attached[self._cgroup] = number

    def watch_sockets(self) -> None:
        self._kernel.call("watch sockets")

    def close(self) -> None:
        if not self._kernel.holds_on:
            self._kernel.attached.pop(self._cgroup, None)
        self._kernel.call("close")  # libbpf frees a link whatever it returns

    def remaining(self) -> list[int]:
        self._kernel.call("query")
        return [1] if self._cgroup in self._kernel.attached else []


class World:
    """A registry over directories that stand for cgroups, and real processes."""

    def __init__(self, top: Path, stack: ExitStack, fail_at: int = 0) -> None:
        self.top = top
        self.loop = stack.enter_context(Loop())
        self.kernel = FakeKernel(fail_at)
        self.gone: list[str] = []
        self.registry = Registry(self.loop, self.kernel, top, self.gone.append)
        stack.callback(self.registry.close)
        self._stack = stack
        self.before = open_files()

    def process(self) -> subprocess.Popen[bytes]:
        return self._stack.enter_context(running(["sleep", "1000"]))

    def folder(self, name: str) -> str:
        (self.top / name).mkdir(exist_ok=True)
        return f"/{name}"

    def clean(self) -> bool:
        """Return True if nothing is attached, limited or open, and every slot is free."""
        registry = self.registry
        return (
            not registry.entries
            and not registry.stuck
            and not self.kernel.attached
            and not self.kernel.tasks
            and len(registry._free) == SLOTS - 1
            and open_files() == self.before
        )

    def holds(self, pid: int) -> bool:
        return any(h.pid == pid for entry in self.registry.entries.values() for h in entry.holds)

    def ended(self, process: subprocess.Popen[bytes]) -> None:
        """End a process and run the loop until its pidfd was served."""
        process.kill()
        process.wait()
        self.run(lambda: not self.holds(process.pid))

    def run(self, until: Callable[[], bool]) -> None:
        """Run passes of the loop until a condition is true."""
        deadline = time.monotonic() + 60
        while not until():
            assert time.monotonic() < deadline
            self.loop.call_later(0.01, lambda: None, name="look")
            assert self.loop._epoll is not None
            self.loop._pass(self.loop._epoll)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


def rate(world: World, cgroup: str, lane: int = 1) -> int:
    number = world.kernel.attached[(world.top / cgroup.lstrip("/")).stat().st_ino]
    return world.kernel.slots[number].values[f"lane[{lane}].rate"]


def test_each_cgroup_has_its_own_limit(world: World) -> None:
    a, b, pid = world.folder("a"), world.folder("b"), world.process().pid
    world.registry.hold(Member(pid, a), "one", Limit(10**6, 0))
    world.registry.hold(Member(pid, b), "two", Limit(10**5, 0))
    assert (rate(world, a), rate(world, b)) == (10**6, 10**5)
    assert len(set(world.kernel.attached.values())) == 2 and 0 not in world.kernel.attached.values()
    world.registry.release("one")
    assert list(world.kernel.attached) == [(world.top / "b").stat().st_ino]
    world.registry.release("two")
    assert world.clean()


def test_three_changes_are_undone_by_one_release(world: World) -> None:
    member = Member(world.process().pid, world.folder("a"))
    for down in (10**6, 10**5, 10**7, 10**5):
        world.registry.hold(member, "request", Limit(down, 0))
        assert rate(world, "a") == down
    assert world.registry.held("request") == 1
    assert world.registry.release("request") == 1
    assert world.clean()


def test_a_failed_detach_leaves_a_stuck_cgroup_that_is_retried(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    member = Member(world.process().pid, world.folder("a"))
    world.registry.hold(member, "request", Limit(10**6, 0))
    world.kernel.holds_on = True
    world.registry.release("request")
    cgroup = (world.top / "a").stat().st_ino
    assert world.registry.entries == {} and list(world.registry.stuck) == [cgroup]
    assert world.kernel.attached == {cgroup: 0}, "it limits nothing meanwhile"
    with pytest.raises(NetError, match="earlier limit"):
        world.registry.hold(member, "again", Limit(10**6, 0))
    for _ in range(3):
        world.registry.check()
    assert world.registry.stuck_total == 1
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    world.kernel.holds_on = False
    world.registry.check()
    assert world.clean()


def test_a_process_that_ends_is_forgotten_without_proc(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, path = world.process(), world.folder("a")
    world.registry.hold(Member(process.pid, path), "request", Limit(10**6, 0, kind="task"))
    assert world.kernel.tasks
    monkeypatch.setattr("scx_gamer.netlimit.registry.start_of", None)
    process.kill()
    world.run(lambda: not world.registry.entries)
    assert world.clean() and world.gone == ["request"]


def test_a_dead_process_is_not_held(world: World) -> None:
    process = world.process()
    process.kill()
    process.wait()
    assert world.registry.hold(Member(process.pid, world.folder("a")), "w", Limit(1, 0)) is None
    assert world.registry.hold(Member(os.getpid(), "/gone"), "w", Limit(1, 0)) is None
    assert world.clean()


def test_a_process_in_two_limits_is_charged_to_the_one_that_stays(world: World) -> None:
    """The process moved to another cgroup, and both limits name it."""
    process, a, b = world.process(), world.folder("a"), world.folder("b")
    world.registry.hold(Member(process.pid, a), "one", Limit(10**6, 0, kind="task"))
    first = world.kernel.tasks[process.pid]
    world.registry.hold(Member(process.pid, b), "two", Limit(10**6, 0, kind="task"))
    assert world.kernel.tasks[process.pid] != first
    world.registry.release("two")
    assert world.kernel.tasks[process.pid] == first
    world.registry.hold(Member(process.pid, a), "one", Limit(10**6, 0, kind="cgroup"))
    assert not world.kernel.tasks
    world.registry.release("one")
    assert world.clean()


def test_more_cgroups_than_slots_are_refused(world: World) -> None:
    pid = world.process().pid
    for number in range(SLOTS - 1):
        world.registry.hold(Member(pid, world.folder(f"c{number}")), "request", Limit(10**6, 0))
    with pytest.raises(NetError, match=f"{SLOTS - 1} cgroups are limited already"):
        world.registry.hold(Member(pid, world.folder("more")), "request", Limit(10**6, 0))
    assert world.registry.release("request") == SLOTS - 1
    assert world.clean()


@pytest.mark.parametrize("kind", ["cgroup", "task"])
def test_any_call_may_fail(tmp_path: Path, kind: str) -> None:
    """A failed call leaves the registry as it was, and in the end nothing is left."""
    failed = 0
    while True:
        with ExitStack() as stack:
            world = World(tmp_path, stack, fail_at=failed)
            one, other = world.process(), world.process()
            path = world.folder("a")
            for pid, request in ((one.pid, "one"), (other.pid, "two"), (one.pid, "two")):
                held = world.registry.held(request)
                try:
                    world.registry.hold(Member(pid, path), request, Limit(10**6, 0, kind=kind))
                except NetError as err:
                    assert err.errno == 5
                    assert world.registry.held(request) == held
            for request in ("one", "two"):
                world.registry.release(request)
            world.registry.check()
            assert world.clean(), f"call {failed} failed"
            calls = world.kernel.calls
        failed += 1
        if failed > calls:
            break
    assert failed > 5


limits = st.builds(
    Limit,
    st.sampled_from((0, 10**5, 10**6)),
    st.sampled_from((0, 10**5, 10**6)),
    st.sampled_from(("internet", "all")),
    st.sampled_from(("cgroup", "task")),
)


@given(st.lists(limits, min_size=1, max_size=6))
def test_the_smallest_of_all_is_none_of_none(wanted: list[Limit]) -> None:
    least = smallest(wanted)
    for name in ("down", "up"):
        given_ = [getattr(limit, name) for limit in wanted if getattr(limit, name)]
        assert getattr(least, name) == (min(given_) if given_ else 0)
    assert (least.scope == "all") == any(limit.scope == "all" for limit in wanted)
    assert (least.kind == "task") == all(limit.kind == "task" for limit in wanted)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), st.integers(0, 2), st.integers(0, 2), limits),
        st.tuples(st.just("release"), st.integers(0, 2), st.none(), st.none()),
        st.tuples(st.just("end"), st.integers(0, 2), st.none(), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(steps)
def test_any_order_of_hold_and_release(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[str, int, int, Limit]]
) -> None:
    """Programs are attached exactly to limited cgroups, with the smallest of the holders' limits."""
    with ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("cgroups"), stack)
        processes = [world.process() for _ in range(3)]
        paths = [world.folder(name) for name in "abc"]
        dead: set[int] = set()
        model: dict[tuple[str, str, int], Limit] = {}
        for what, number, place, limit in wanted:
            if what == "hold":
                pid, path = processes[number].pid, paths[place]
                world.registry.hold(Member(pid, path), f"w{place}", limit)
                if number not in dead:
                    model[path, f"w{place}", pid] = limit
            elif what == "release":
                world.registry.release(f"w{number}")
                model = {key: value for key, value in model.items() if key[1] != f"w{number}"}
            elif number not in dead:
                dead.add(number)
                process = processes[number]
                model = {key: value for key, value in model.items() if key[2] != process.pid}
                world.ended(process)
            for path in paths:
                inode = (world.top / path.lstrip("/")).stat().st_ino
                held = [value for key, value in model.items() if key[0] == path]
                assert (inode in world.kernel.attached) == bool(held)
                if held:
                    assert rate(world, path) == smallest(held).down
                    assert rate(world, path, 0) == smallest(held).up
        for request in ("w0", "w1", "w2"):
            world.registry.release(request)
        assert not world.registry.entries and not world.kernel.attached and not world.kernel.tasks
