# SPDX-License-Identifier: GPL-2.0-or-later
"""Starting the workload program and parsing its output."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scx_gamer.system import child
from scx_gamer.system.closing import Closing
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.paths import checkout_variable

_CHECKOUT = Path(__file__).resolve().parents[2] / "build" / "bin" / "workload"
_PACKAGED = Path(__file__).resolve().parents[1] / "bin" / "workload"


class BenchError(ScxGamerError):
    """A benchmark that cannot run: what failed, errno (0 if none), what to do."""


def find_workload() -> Path:
    """The program: in a checkout SCX_GAMER_WORKLOAD, else the checkout's build, else the package's own."""
    named = checkout_variable("SCX_GAMER_WORKLOAD")
    for path in [Path(named).absolute()] if named else [_CHECKOUT, _PACKAGED]:
        if os.access(path, os.X_OK):
            return path
    raise BenchError("the workload program is not built", hint="run 'make workload'")


class Workload(Closing):
    """A running subcommand, until close(). `result()` waits for its JSON."""

    def __init__(self, subcommand: str, *args: str | float, prefix: Sequence[str] = ()) -> None:
        self._argv = [*prefix, str(find_workload()), subcommand, *(str(a) for a in args)]
        with ExitStack() as stack:
            self._process = stack.enter_context(
                subprocess.Popen(
                    self._argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd="/",
                    env=child.environment(),
                    process_group=0,  # keeps Ctrl-C from the child, which is ended in order
                )
            )
            self._stack = stack.pop_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """Return the fd of the output, for select."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def read_line(self) -> dict[str, Any] | None:
        """Return the next printed object, None at the end of the output. Blocks. Raises BenchError."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return None
        return parse_line(line)

    def result(
        self, timeout_s: float, on_line: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Return the last printed object; call `on_line` with that of each second. Raises BenchError."""
        deadline = time.monotonic() + timeout_s
        last: dict[str, Any] | None = None
        while on_line is not None and (line := self.read_line()) is not None:
            last = line
            if "t_s" in line:
                on_line(line)
        try:
            out, err = self._process.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.close()
            raise BenchError(f"{self._argv} took longer than {timeout_s:.0f} s") from None
        if self._process.returncode:
            raise BenchError(
                f"{' '.join(self._argv)} failed with status {self._process.returncode}",
                hint=err.strip().splitlines()[0] if err.strip() else "no output",
            )
        if lines := out.splitlines():
            last = parse_line(lines[-1])
        if last is None:
            raise BenchError(f"{' '.join(self._argv)} printed nothing")
        return last

    def wait_ready(self) -> None:
        """Wait for the line of `--live` that says that the program runs. Raises BenchError if it ends before."""
        if self.read_line() is None:
            self.result(5)

    def measure(self) -> None:
        """Let a game with `--on-signal` begin to measure."""
        self._process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        """Send SIGTERM, upon which the program reports early and ends."""
        if self._process.poll() is None:
            self._process.terminate()

    def close(self) -> None:
        """End the program, by SIGKILL if SIGTERM fails. Idempotent."""
        self.stop()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._stack.close()


def start_mouse(hz: int) -> Workload:
    """Start a virtual mouse that moves. Raises BenchError without uinput."""
    if not os.path.exists("/dev/uinput"):
        subprocess.run(
            ["modprobe", "uinput"],
            check=False,
            capture_output=True,
            cwd="/",
            env=child.environment(),
        )
    mouse = Workload("mouse", "--hz", hz, "--seconds", 3600, "--live")
    try:
        mouse.wait_ready()
    except BaseException:
        mouse.close()
        raise
    return mouse


def parse_line(line: str) -> dict[str, Any]:
    """Parse one printed object. Raises BenchError."""
    try:
        value = json.loads(line)
    except ValueError as e:
        raise BenchError(
            f"the workload printed a line that is not JSON: {line.strip()[:80]!r}"
        ) from e
    if not isinstance(value, dict):
        raise BenchError(
            f"the workload printed a line that is not a JSON object: {line.strip()[:80]!r}"
        )
    return value


def calibrate(seconds: float = 0.5, *, busy: bool = False) -> float:
    """Measure and return this machine's loops per microsecond."""
    args = ["--busy"] if busy else []
    with Workload("calibrate", "--seconds", seconds, *args) as w:
        return float(w.result(30 + seconds)["loops_per_us"])
