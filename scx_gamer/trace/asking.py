# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking: finds a Python that has bcc, starts the child, reads its answer."""

from __future__ import annotations

import functools
import json
import os
import platform
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from scx_gamer.system import child as children
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.exit_codes import FAILED, NO_PERMISSION, UNSUPPORTED, USAGE
from scx_gamer.system.text import printable
from scx_gamer.trace.answer import Answer

QUESTIONS = ("wakeups", "frames", "who-preempts", "input")
COMPILE_S = 120.0  # what bcc may need on a slow machine before the first sample

_HAS_BCC = (
    "import importlib.util as u, pathlib as p; s = u.find_spec('bcc');"
    "raise SystemExit(not (s and s.origin and (p.Path(s.origin).parent / 'libbcc.py').exists()))"
)


class TraceError(ScxGamerError):
    """A question that was not answered; `code` is an exit code."""

    separator = "; "

    def __init__(self, what: str, hint: str = "", code: int = FAILED, errno: int = 0) -> None:
        super().__init__(what, errno, hint, code)


@dataclass(frozen=True)
class Question:
    """`function`: FILE:SYMBOL for frames, else page flips. `seconds` of watching."""

    kind: str
    pid: int | None
    seconds: float
    function: str = ""

    def check(self) -> None:
        """Raises TraceError for what cannot be asked."""
        if self.kind not in QUESTIONS:
            raise TraceError(f"no question {self.kind}", f"there are {', '.join(QUESTIONS)}", USAGE)
        if self.pid is not None and not Path("/proc", str(self.pid)).is_dir():
            raise TraceError(f"no process {self.pid}", "see `scx-gamer games list`")


def packages() -> tuple[str, str]:
    """Names of the distribution's packages: bcc for Python, headers of the running kernel."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    family = f" {release.get('ID', '')} {release.get('ID_LIKE', '')} "
    kernel = platform.release()
    if " arch " in family:
        flavour = next((f for f in ("cachyos", "zen", "lts", "hardened") if f in kernel), "")
        return "python-bcc", f"linux-{flavour}-headers" if flavour else "linux-headers"
    if " fedora " in family or " rhel " in family:
        return "python3-bcc", f"kernel-devel-{kernel}"
    if " suse " in family or "opensuse" in family:
        return "python3-bcc", "kernel-default-devel"
    if " debian " in family or " ubuntu " in family:
        return "python3-bpfcc", f"linux-headers-{kernel}"
    return "bcc for Python", "the running kernel's headers"


def interpreter() -> str:
    """A Python with bcc: ours, or the system's. Raises TraceError."""
    for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
        if os.access(python, os.X_OK) and _has_bcc(python):
            return python
    raise TraceError(
        "bcc for Python is not installed", f"install {packages()[0]}: only trace needs it",
        UNSUPPORTED,
    )  # fmt: skip


def _has_bcc(python: str) -> bool:
    done = subprocess.run(
        [python, "-I", "-c", _HAS_BCC], capture_output=True, timeout=30, check=False,
        cwd="/", env=children.environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode == 0


def mapped_file(pid: int, name: str, proc: Path = Path("/proc")) -> Path:
    """The file for `name` of FILE:SYMBOL: a path, or the start of a library's name that the process has mapped.

    Seen through the process's own root: a game in a container has another file system. Raises TraceError.
    """
    root = proc / str(pid) / "root"
    if "/" in name:
        path = root / name.lstrip("/")
        if not path.is_file():
            raise TraceError(f"no file {printable(name)} for process {pid}", "give a full path")
        return path
    try:
        maps = (proc / str(pid) / "maps").read_text(errors="surrogateescape")
    except OSError as err:
        raise TraceError(
            f"the libraries of {pid} cannot be read: {err.strerror}",
            "run it as root", NO_PERMISSION, err.errno or 0,
        ) from err  # fmt: skip
    paths = {line.split(maxsplit=5)[5] for line in maps.splitlines() if len(line.split()) > 5}
    for mapped in sorted(paths):
        if mapped.startswith("/") and Path(mapped).name.startswith(name):
            return root / mapped.lstrip("/")
    raise TraceError(f"process {pid} has no library {printable(name)}", "see /proc/PID/maps")


def ask(question: Question) -> Answer:
    """Watch for the question's time, or until SIGINT. Raises TraceError."""
    question.check()
    python = interpreter()
    if os.geteuid() != 0:
        raise TraceError("trace attaches probes to the kernel", "run it as root", NO_PERMISSION)
    argv = [*children.python("scx_gamer.trace.child", python), json.dumps(asdict(question))]
    with subprocess.Popen(
        argv, cwd="/", env=children.environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        try:
            out, err = _communicate(child, COMPILE_S + question.seconds)
        finally:
            if child.poll() is None:
                child.kill()
    return _read(child.returncode, out, err)


def _communicate(child: subprocess.Popen[bytes], timeout_s: float) -> tuple[bytes, bytes]:
    read = functools.partial(child.communicate, timeout=timeout_s)
    try:
        return read()
    except KeyboardInterrupt:  # the child got it too, if it came from the terminal
        child.send_signal(signal.SIGINT)
        return read()
    except subprocess.TimeoutExpired as err:
        raise TraceError("the probes did not answer in time", "try again with less load") from err


def _read(status: int, out: bytes, err: bytes) -> Answer:
    """The child's last line is its answer, or why there is none."""
    try:
        body = json.loads(out.decode().splitlines()[-1])
        if "error" not in body:
            return Answer.parse(body)
        code = int(body["code"])
        raise TraceError(printable(body["error"], 600), printable(body["hint"], 300), code)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError):
        lines = err.decode(errors="replace").strip().splitlines()
        said = printable(lines[-1], 300) if lines else "it said nothing"
        raise TraceError(f"the child that traces ended with {status}: {said}") from None
