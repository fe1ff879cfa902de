# SPDX-License-Identifier: GPL-2.0-or-later
"""A supervisor in a child process, controlled through its socket."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from scx_gamer.bench.workload import BenchError
from scx_gamer.system import child
from scx_gamer.system.closing import Closing
from scx_gamer.system.files import read_text

CLI = child.python("scx_gamer.cli")
OURS = "scx_gamer"
_SCHED_EXT = Path("/sys/kernel/sched_ext")
_ANSWER_S = 60.0  # beside hogs and without our scheduler, an answer waits for all of them
_POLL_S = 0.1
_READY_S = 60.0


def loaded_scheduler() -> str:
    """Return the name of the attached sched_ext scheduler; empty if there is none."""
    if read_text(_SCHED_EXT / "state") != "enabled":
        return ""
    return read_text(_SCHED_EXT / "root/ops") or ""


def kernel_has_sched_ext() -> bool:
    return _SCHED_EXT.is_dir()


def query(op: str = "status") -> dict[str, Any]:
    """Query the supervisor over its socket. Raises BenchError."""
    from scx_gamer import control

    try:
        answer: dict[str, Any] = control.request(op, timeout_s=_ANSWER_S)
    except control.ControlError as e:
        raise BenchError(str(e), errno=e.errno) from e
    return answer


class Session(Closing):
    """A running `scx-gamer run`, switched on, until close(). Raises BenchError.

    On or off is persistent, so close() restores the setting that was found.
    """

    def __init__(
        self, *, log: Path | None = None, prefix: Sequence[str] = (), mode: str = ""
    ) -> None:
        with ExitStack() as stack:
            out: Any = subprocess.DEVNULL
            if log is not None:
                out = stack.enter_context(log.open("w"))
            self._process = subprocess.Popen(
                [*prefix, *CLI, "run", *(("--mode", mode) if mode else ())],
                cwd="/",
                env=child.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            stack.callback(self._end)
            self._log = log
            self._wait_ready()
            self._found_off = query()["state"] == "off"
            stack.callback(self._restore)
            if self._found_off:
                query("start")
            self._stack = stack.pop_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)

    def _restore(self) -> None:
        with suppress(BenchError):  # the supervisor may have ended
            query("stop" if self._found_off else "start")

    def _last_line(self) -> str:
        lines = self._log.read_text().strip().splitlines() if self._log else []
        return lines[-1] if lines else "no message"

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if (code := self._process.poll()) is not None:
                raise BenchError(f"scx-gamer run ended with status {code}", hint=self._last_line())
            try:
                query()
            except BenchError as e:
                last = e
                time.sleep(0.2)
                continue
            return
        raise BenchError(f"scx-gamer run is not ready after {_READY_S:.0f} s", hint=str(last))

    def wait_scheduler(self, name: str, timeout_s: float = 60.0) -> None:
        """Wait until `name` is attached (empty: until none is). Raises BenchError."""
        deadline = time.monotonic() + timeout_s
        while (now := loaded_scheduler()) != name:
            if (code := self._process.poll()) is not None:
                raise BenchError(f"scx-gamer run ended with status {code}", hint=self._last_line())
            if time.monotonic() > deadline:
                raise BenchError(
                    f"the kernel runs {now or 'its own scheduler'} after {timeout_s:.0f} s, not {name or 'its own'}",
                    hint=json.dumps(query().get("state", "?")),
                )
            time.sleep(_POLL_S)

    def close(self) -> None:
        """End the supervisor; idempotent."""
        self._stack.close()


def wait_kernel(name: str | None, timeout_s: float = 30.0) -> None:
    """Wait until `name` is attached (empty: until none is; None: until any is). Raises BenchError."""
    deadline = time.monotonic() + timeout_s
    while True:
        now = loaded_scheduler()
        if now if name is None else now == name:
            return
        if time.monotonic() > deadline:
            raise BenchError(
                f"the kernel runs {now or 'its own scheduler'} after {timeout_s:.0f} s",
                hint=f"wanted {'any other' if name is None else name or 'its own'}",
            )
        time.sleep(_POLL_S)


class Stage:
    """The attached scheduler. `switch` replaces it only by another one."""

    def __init__(self, *, attached: bool) -> None:
        self._now = OURS if attached else ""

    def switch(self, scheduler: str) -> None:
        """Attach a scheduler, or none for an empty name. Raises BenchError."""
        if scheduler == self._now:
            return
        self.close()
        if scheduler:
            self._attach(scheduler)
        self._now = scheduler

    def close(self) -> None:
        """Return to the kernel's own scheduler. Idempotent."""
        if self._now:
            self._detach()
        self._now = ""
        if kernel_has_sched_ext():
            wait_kernel("")

    def _attach(self, scheduler: str) -> None:
        query("start")
        wait_kernel(scheduler)

    def _detach(self) -> None:
        query("stop")


def need_root() -> None:
    """Raise BenchError unless the process runs as root."""
    if os.geteuid():
        raise BenchError("the benchmark needs root", hint="start it with sudo, or run 'make run'")
