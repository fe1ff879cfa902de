# SPDX-License-Identifier: GPL-2.0-or-later
"""One whole life of a supervisor inside the test's process, limits of traffic included, on a kernel that may fail one
call of it."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.leakcheck import world
from scx_gamer.libbpf._native import real, stand_in
from scx_gamer.scheduler.store import StateStore
from scx_gamer.service.supervisor import Supervisor
from scx_gamer.system.paths import Paths
from tests.ownership import Book, locks_held
from tests.vm.harness import directories, kernel_state
from tests.vm.netlimit.world import Cgroup

OPTIONS = SupervisorOptions(mode="always", metrics_address="")


@dataclass(frozen=True)
class Outcome:
    """The result of a run of the supervisor."""

    failed: str  # the call that was made to fail, empty if none
    error: str
    exit_code: int | None
    calls: tuple[str, ...]
    wrong: tuple[str, ...]  # what must never be
    refused: tuple[str, ...]  # operations that were answered with an error


class Script:
    """Send a user's requests over the control socket, one after the other, then end the supervisor."""

    def __init__(self, sup: Supervisor, where: Path, limited: int) -> None:
        self._sup, self._where = sup, where
        self._sock: socket.socket | None = None
        game, target = os.getppid(), str(limited)
        self._steps: list[dict[str, object]] = [
            {"op": "restart"},
            {"op": "stop"},
            {"op": "start"},
            {"op": "net_limit", "target": target, "down": "8 Mbit/s", "up": "4 Mbit/s"},
            {"op": "net_limit", "target": target, "down": "4 Mbit/s", "kind": "task"},
            {"op": "game_add", "pid": game},
            {"op": "game_remove", "pid": game},
            {"op": "net_release", "target": target},
            {"op": "net_limit", "target": target, "up": "1 MB/s"},
        ]
        self.refused: list[str] = []
        self._later()

    def _later(self) -> None:
        self._sup.loop.call_later(
            0.02, self._ask if self._steps else self._sup.loop.stop, name="script"
        )

    def _ask(self) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(os.fspath(self._where))
        self._sock.sendall(json.dumps(self._steps[0]).encode() + b"\n")
        self._sup.loop.add_fd(self._sock.fileno(), self._answered, name="script")

    def _answered(self, fd: int) -> None:
        """A status may be long; how it begins says whether it was refused."""
        assert self._sock is not None
        answer = self._sock.recv(1 << 16)
        self._sup.loop.remove_fd(fd)
        self.close()
        asked = self._steps.pop(0)
        if b'"error"' in answer[:64]:
            self.refused.append(str(asked["op"]))
        self._later()

    def close(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()


class Limited:
    """A process in a cgroup of its own, there before and after the life."""

    def __init__(self) -> None:
        self._cgroup = Cgroup("scxg-life")
        try:
            self.pid = self._cgroup.sleeper().pid
        except BaseException:
            self._cgroup.remove()
            raise

    def close(self) -> None:
        self._cgroup.remove()


def live(fail_at: int = 0) -> Outcome:
    """Start, restart, stop, start, limits, game, end; with the call of that number failing. The world is compared."""
    with directories() as root, closing(Limited()) as limited:
        paths = Paths(root / "run", root / "state", root / "etc")
        book = Book(real(), fail_at)
        before, locks = world.now(), locks_held()
        handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
        error, code, wrong = "", None, []
        with stand_in(book):
            sup = Supervisor(OPTIONS, paths)
            script = Script(sup, paths.control_socket, limited.pid)
            try:
                with closing(script):
                    code = sup.run()
            except Exception as err:
                error = f"{type(err).__name__}: {err}"
                # what is ours says what failed; anything else is a bug met on the way
                if not hasattr(err, "hint") and type(err).__name__ != "LoopError":
                    wrong.append(f"an exception that is none of ours: {error}")
        generation = sup.store.state.generation
        refused = tuple(script.refused)
        del sup, script
        wrong += [f"left behind: {resource}" for resource in world.left_over(before)]
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
        return Outcome(book.failed, error, code, tuple(book.calls), tuple(wrong), refused)
