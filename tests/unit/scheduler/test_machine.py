# SPDX-License-Identifier: GPL-2.0-or-later
"""The state machine with a fake clock and a fake kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.scheduler.errors import AttachBusy, AttachFailed, AttachUnsupported
from scx_gamer.scheduler.exits import (
    CODE_RESTART,
    KIND_ERROR_STALL,
    KIND_SYSRQ,
    KIND_UNREG_KERN,
    ExitRecord,
)
from scx_gamer.scheduler.machine import Attached, Machine, State
from scx_gamer.scheduler.store import StateStore
from scx_gamer.system.paths import Paths


@dataclass
class FakeTimer:
    due_ns: int
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class FakeClock:
    now: int = 10**12
    timers: list[FakeTimer] = field(default_factory=list)

    def now_ns(self) -> int:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None], *, name: str) -> FakeTimer:
        timer = FakeTimer(self.now + int(delay_s * 1e9), callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + int(seconds * 1e9)
        while True:
            due = [t for t in self.timers if not t.cancelled and t.due_ns <= end]
            if not due:
                break
            timer = min(due, key=lambda t: t.due_ns)
            self.timers.remove(timer)
            self.now = timer.due_ns
            timer.callback()
        self.now = end


@dataclass
class FakeAttached:
    generation: int
    record: ExitRecord | None = None
    closed: int = 0

    def ended(self) -> ExitRecord | None:
        return self.record

    def close(self) -> None:
        self.closed += 1


@dataclass
class FakeKernel:
    why: str | None = None
    errors: list[Exception] = field(default_factory=list)
    lives: list[FakeAttached] = field(default_factory=list)
    dumps: list[ExitRecord] = field(default_factory=list)
    other: bool = False
    hotplug_count: int = 0

    def hotplugs(self) -> int:
        return self.hotplug_count

    def other_loaded(self) -> bool:
        return self.other

    def unsupported(self) -> str | None:
        return self.why

    def attach(self, generation: int) -> Attached:
        if self.errors:
            raise self.errors.pop(0)
        self.lives.append(FakeAttached(generation))
        return self.lives[-1]

    def keep_dump(self, record: ExitRecord) -> None:
        self.dumps.append(record)


@dataclass
class World:
    paths: Paths
    boot: str = "boot-a"
    clock: FakeClock = field(default_factory=FakeClock)
    kernel: FakeKernel = field(default_factory=FakeKernel)

    def machine(self, mode: str = "always") -> Machine:
        store = StateStore(self.paths)
        store.load()
        return Machine(SupervisorOptions(mode=mode), self.kernel, self.clock, store, self.boot)

    def end(self, machine: Machine, kind: int, code: int = 0) -> None:
        life = self.kernel.lives[-1]
        life.record = ExitRecord(kind, code, life.generation, "reason")
        machine.check()


@pytest.fixture
def world(tmp_path: Path) -> World:
    paths = Paths(tmp_path / "run", tmp_path / "state", tmp_path / "etc")
    paths.create()
    return World(paths)


def attached(world: World) -> Machine:
    machine = world.machine()
    machine.start(True)
    assert machine.state is State.ATTACHED
    return machine


def test_waits_for_a_game_and_leaves_with_it(world: World) -> None:
    machine = world.machine("auto")
    machine.start(False)
    assert machine.state is State.IDLE and not world.kernel.lives
    machine.set_wanted(True, "game")
    assert machine.state is State.ATTACHED
    machine.set_wanted(False, "gone")
    assert machine.state is State.IDLE and world.kernel.lives[0].closed == 1


def test_generation_rises_over_restarts_of_the_supervisor(world: World) -> None:
    attached(world).close()
    machine = attached(world)
    machine.user_restart()
    assert [life.generation for life in world.kernel.lives] == [1, 2, 3]
    assert [life.closed for life in world.kernel.lives] == [1, 1, 0]


def test_restart_bit_is_a_new_generation_that_is_not_counted(world: World) -> None:
    machine = attached(world)
    for expected in range(2, 22):
        world.end(machine, KIND_UNREG_KERN, CODE_RESTART)
        assert machine.state is State.BACKOFF
        world.clock.advance(20)
        assert machine.state is State.ATTACHED
        assert world.kernel.lives[-1].generation == expected
    assert machine.recent_failures() == 0 and machine.counters().restarts == 20
    assert all(life.closed == 1 for life in world.kernel.lives[:-1])


def test_storm_of_restarts_slows_down(world: World) -> None:
    machine = attached(world)
    waits: list[float] = []
    for _ in range(9):
        world.end(machine, KIND_UNREG_KERN, CODE_RESTART)
        waits.append(machine.retry_in_s() or 0)
        world.clock.advance(waits[-1] + 0.9)
    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 6.4])


def test_a_burst_of_hotplug_is_one_generation(world: World) -> None:
    """SMT of eight threads off and on: each burst ends with one attach, soon after its last CPU."""
    machine = attached(world)
    for burst in range(2, 22):
        world.kernel.hotplug_count += 1
        world.end(machine, KIND_UNREG_KERN, CODE_RESTART)
        for _ in range(3):
            world.clock.advance(0.02)
            world.kernel.hotplug_count += 1
        world.clock.advance(0.08)
        assert machine.state is State.BACKOFF
        world.clock.advance(0.02)  # looked at every 0.05 s: 0.15 s after the first
        assert machine.state is State.ATTACHED
        assert len(world.kernel.lives) == burst
        world.clock.advance(1)


def test_endless_hotplug_does_not_keep_the_scheduler_away(world: World) -> None:
    machine = attached(world)
    world.end(machine, KIND_UNREG_KERN, CODE_RESTART)
    for _ in range(400):
        assert machine.state is State.BACKOFF
        world.kernel.hotplug_count += 1
        world.clock.advance(0.02)
    assert machine.state is State.ATTACHED


def test_a_user_who_starts_amid_a_burst_does_not_wait(world: World) -> None:
    machine = attached(world)
    world.end(machine, KIND_UNREG_KERN, CODE_RESTART)
    world.kernel.hotplug_count += 1
    world.clock.advance(0.06)
    assert machine.state is State.BACKOFF
    machine.user_start()
    assert machine.state is State.ATTACHED
    world.clock.advance(20)
    assert len(world.kernel.lives) == 2


@pytest.mark.parametrize(("kind", "code"), [(KIND_SYSRQ, 0), (KIND_UNREG_KERN, 0), (68, 0)])
def test_switched_off_by_the_user_or_the_kernel_is_sticky(
    world: World, kind: int, code: int
) -> None:
    machine = attached(world)
    world.end(machine, kind, code)
    assert machine.state is State.OFF
    world.clock.advance(3600)
    again = world.machine()
    again.start(True)
    assert again.state is State.OFF and len(world.kernel.lives) == 1
    again.user_start()
    assert again.state is State.ATTACHED


def test_backoff_then_fallback_after_the_third(world: World) -> None:
    machine = attached(world)
    world.end(machine, KIND_ERROR_STALL)
    assert machine.state is State.BACKOFF and machine.retry_in_s() == 5
    world.clock.advance(4.9)
    assert machine.state is State.BACKOFF
    world.clock.advance(0.2)
    assert machine.state is State.ATTACHED
    world.end(machine, 1025)
    assert machine.retry_in_s() == 30
    world.clock.advance(31)
    world.end(machine, 4711)  # a kind of a newer kernel
    assert machine.state is State.FALLBACK
    world.clock.advance(86400)
    assert machine.state is State.FALLBACK and len(world.kernel.lives) == 3
    assert len(world.kernel.dumps) == 3
    again = world.machine()
    again.start(True)
    assert again.state is State.FALLBACK
    again.user_start()
    assert again.state is State.ATTACHED and again.recent_failures() == 0


def test_failures_far_apart_reach_the_longest_wait_but_not_fallback(world: World) -> None:
    machine = attached(world)
    waits = []
    for _ in range(5):
        world.end(machine, 1024)
        waits.append(machine.retry_in_s())
        world.clock.advance(301)
    assert waits == [5, 30, 120, 120, 120]
    assert machine.state is State.ATTACHED


def test_fallback_ends_with_the_boot(world: World) -> None:
    machine = attached(world)
    for _ in range(3):
        world.end(machine, 1024)
        world.clock.advance(40)
    assert machine.state is State.FALLBACK
    world.boot = "boot-b"
    assert attached(world).recent_failures() == 0


def test_another_scheduler_is_a_conflict_without_a_loop(world: World) -> None:
    world.kernel.errors.append(AttachBusy("scx_other"))
    machine = world.machine()
    machine.start(True)
    assert machine.state is State.CONFLICT and "scx_other" in machine.cause
    world.kernel.other = True
    beat(world, machine, 3600)
    assert machine.state is State.CONFLICT and not world.kernel.lives
    machine.user_start()
    assert machine.state is State.ATTACHED


def beat(world: World, machine: Machine, seconds: int) -> None:
    for _ in range(seconds):
        world.clock.advance(1)
        machine.check()


def test_attaches_after_the_other_scheduler_and_not_between_two_of_them(world: World) -> None:
    """scx_loader stops one and starts the next: who attaches in between ends its user's choice."""
    world.kernel.errors.append(AttachBusy("scx_other"))
    world.kernel.other = True
    machine = world.machine()
    machine.start(True)
    for _ in range(3):
        world.kernel.other = False
        beat(world, machine, 5)
        assert machine.state is State.CONFLICT
        world.kernel.other = True
        beat(world, machine, 2)
    world.kernel.other = False
    beat(world, machine, 6)
    assert machine.state is State.ATTACHED and len(world.kernel.lives) == 1
    assert machine.counters().attaches == {"ok": 1, "busy": 1, "failed": 0, "unsupported": 0}


def test_conflict_ends_with_the_game_and_with_stop(world: World) -> None:
    for end, state in (
        (Machine.user_stop, State.OFF),
        (lambda m: m.set_wanted(False, "x"), State.IDLE),
    ):
        world.kernel.errors.append(AttachBusy("scx_other"))
        machine = world.machine()
        machine.user_start()
        machine.set_wanted(True, "a game")
        end(machine)
        beat(world, machine, 60)
        assert machine.state is state and not world.kernel.lives


def test_refused_load_is_not_tried_again(world: World) -> None:
    world.kernel.errors.append(AttachUnsupported("kfunc scx_bpf_kick_cpu"))
    machine = world.machine()
    machine.start(True)
    machine.user_start()
    machine.set_wanted(False, "x")
    machine.set_wanted(True, "x")
    world.clock.advance(3600)
    assert machine.state is State.UNSUPPORTED and not world.kernel.lives
    assert machine.counters().attaches["unsupported"] == 1


def test_init_that_fails_is_counted_like_an_exit(world: World) -> None:
    world.kernel.errors.append(AttachFailed(ExitRecord(1024, 0, 1, "init failed")))
    machine = world.machine()
    machine.start(True)
    assert machine.state is State.BACKOFF and machine.recent_failures() == 1
    world.clock.advance(5)
    assert machine.state is State.ATTACHED


def test_stop_in_backoff_wins_over_the_timer(world: World) -> None:
    machine = attached(world)
    world.end(machine, 1024)
    machine.user_stop()
    world.clock.advance(3600)
    assert machine.state is State.OFF and len(world.kernel.lives) == 1


def test_game_that_ends_in_backoff_leaves_it_idle(world: World) -> None:
    machine = attached(world)
    world.end(machine, 1024)
    machine.set_wanted(False, "gone")
    world.clock.advance(3600)
    assert machine.state is State.IDLE and len(world.kernel.lives) == 1


def test_close_detaches_once_in_every_state(world: World) -> None:
    machine = attached(world)
    machine.close()
    machine.close()
    assert world.kernel.lives[0].closed == 1
