# SPDX-License-Identifier: GPL-2.0-only
"""One whole life of a supervisor inside the test's process, on a kernel that may fail one call of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.control import ControlError
from scx_gamer.leakcheck import world
from scx_gamer.libbpf._native import real, stand_in
from scx_gamer.options import SupervisorOptions
from scx_gamer.paths import Paths
from scx_gamer.state import StateStore
from scx_gamer.supervisor import Supervisor
from tests.ownership import Book, locks_held
from tests.vm.harness import directories, kernel_state

OPTIONS = SupervisorOptions(mode="always", metrics_address="")


@dataclass(frozen=True)
class Outcome:
    """What came of a life."""

    failed: str  # the call that was made to fail, empty if none
    error: str
    exit_code: int | None
    calls: tuple[str, ...]
    wrong: tuple[str, ...]  # what must never be


def _script(sup: Supervisor) -> None:
    """Restart, stop, start again, a game comes and goes, end: each as a user would ask for it."""
    steps: list[Callable[[], object]] = [
        sup.operations.restart,
        sup.operations.stop,
        sup.operations.start,
        lambda: sup.operations.add_game(os.getppid(), "test"),
        lambda: sup.operations.remove_game(os.getppid()),
        sup.loop.stop,
    ]

    def step(number: int) -> None:
        with suppress(ControlError):  # refused, as in `unsupported`
            steps[number]()
        if number + 1 < len(steps):
            sup.loop.call_later(0.02, lambda: step(number + 1), name="script")

    sup.loop.call_later(0.02, lambda: step(0), name="script")


def live(fail_at: int = 0) -> Outcome:
    """Start, restart, stop, start, game, end; with the call of that number failing. The world is compared."""
    with directories() as root:
        paths = Paths(root / "run", root / "state", root / "etc")
        book = Book(real(), fail_at)
        before, locks = world.now(), locks_held()
        handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
        error, code, wrong = "", None, []
        with stand_in(book):
            sup = Supervisor(OPTIONS, paths)
            _script(sup)
            try:
                code = sup.run()
            except Exception as err:
                error = f"{type(err).__name__}: {err}"
                # what is ours says what failed; anything else is a bug met on the way
                if not hasattr(err, "hint") and type(err).__name__ != "LoopError":
                    wrong.append(f"an exception that is none of ours: {error}")
        generation = sup.store.state.generation
        del sup
        wrong += [f"left behind: {thing}" for thing in world.left_over(before)]
        wrong += [str(violation) for violation in book.close()]
        wrong += [f"lock held: {lock}" for lock in locks_held() - locks]
        if [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] != handlers:
            wrong.append("a signal handler was not given back")
        if kernel_state() != "disabled":
            wrong.append(f"sched_ext is {kernel_state()}")
        again = StateStore(paths)
        if again.load().generation < generation:
            wrong.append("the generation went backwards on disk")
        wrong += [f"file {path}" for path in Path(root).rglob("*.tmp")]
        if fail_at and not book.failed:
            wrong.append(f"there is no call {fail_at}: {len(book.calls)} were made")
        return Outcome(book.failed, error, code, tuple(book.calls), tuple(wrong))
