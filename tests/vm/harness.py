# SPDX-License-Identifier: GPL-2.0-or-later
"""A real supervisor process in directories of its own, and what a test asks of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scx_gamer import control
from scx_gamer.config.options import SupervisorOptions
from scx_gamer.libbpf import Object, find_object
from scx_gamer.scheduler.attached import fit_ops
from scx_gamer.system.procfs import stat_of
from tests.processes import end

SCHED_EXT = Path("/sys/kernel/sched_ext")
TREE = Path(__file__).resolve().parents[2]

# Our modules as the installed command has them, with the options given as JSON.
_RUN = """
import json, sys
from scx_gamer.cli.errors import report
from scx_gamer.config.options import SupervisorOptions
from scx_gamer.service.supervisor import main
options = json.loads(sys.argv[1])
options["backoff_s"] = tuple(options["backoff_s"])
try:
    sys.exit(main(SupervisorOptions(**options)))
except Exception as error:
    sys.exit(report(error))
"""


def kernel_state() -> str:
    return (SCHED_EXT / "state").read_text().strip()


def wait_until(
    what: str, probe: Callable[[], Any], timeout_s: float = 30.0, every_s: float = 0.01
) -> Any:
    """The first true answer of `probe`; AssertionError naming `what` after the time."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {timeout_s:g} s")
        time.sleep(every_s)


@dataclass
class Supervised:
    """A running supervisor."""

    process: subprocess.Popen[bytes]
    root: Path
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, op: str, **args: Any) -> Any:
        """One operation, with more patience than a user has: the machine may be slow and full."""
        args.setdefault("timeout_s", 60.0)
        return control.request(op, path=self.root / "run/control.sock", **args)

    def status(self) -> dict[str, Any]:
        answer = self.ask("status")
        assert isinstance(answer, dict)
        return answer

    def state(self) -> str:
        """Empty while nobody answers."""
        try:
            return str(self.status()["state"])
        except control.ControlError:
            return ""

    def wait_state(self, state: str, timeout_s: float = 60.0) -> dict[str, Any]:
        def reached() -> bool:
            assert self.process.poll() is None, (
                f"ended with {self.process.returncode}: {self.text()}"
            )
            return self.state() == state

        wait_until(f"state {state}", reached, timeout_s)
        return self.status()

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def cpu_s(self) -> float:
        """CPU time of the process so far."""
        stat = stat_of(self.pid)
        assert stat is not None
        return stat.cpu / os.sysconf("SC_CLK_TCK")

    def rss_kb(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1])

    def end(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 30.0) -> int:
        """Signal it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)


def launch(
    options: SupervisorOptions,
    root: Path,
    env: Mapping[str, str] | None = None,
    unshare: Sequence[str] = (),
) -> Supervised:
    """Start a supervisor in `root`; the caller ends it. Folders in `unshare` are empty as it sees them."""
    log = root / "log"
    arguments = [sys.executable, "-c", _RUN, json.dumps(asdict(options), default=str)]
    if unshare:
        hide = " && ".join(f"mount -t tmpfs none {folder}" for folder in unshare)
        arguments = ["unshare", "-m", "sh", "-c", f'{hide} && exec "$@"', "sh", *arguments]
    environ = {
        **os.environ,
        "SCX_GAMER_RUNTIME_DIR": str(root / "run"),
        "SCX_GAMER_STATE_DIR": str(root / "state"),
        "PYTHONWARNINGS": "always::ResourceWarning",
        **(env or {}),
    }
    with log.open("ab") as out:
        process = subprocess.Popen(
            arguments, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    return Supervised(process, root, log)


@contextmanager
def directories() -> Iterator[Path]:
    """A folder for run, state and log; in /run, which is no network file system."""
    root = Path(tempfile.mkdtemp(prefix="scxg-", dir="/run"))
    try:
        yield root
    finally:
        shutil.rmtree(root)


@contextmanager
def restored(setting: Path) -> Iterator[Path]:
    """A file of sysfs, which has its value again when the block ends: other folders run in this guest later."""
    before = setting.read_text()
    try:
        yield setting
    finally:
        if setting.read_text() != before:
            setting.write_text(before)


@contextmanager
def open_tree() -> Iterator[Path]:
    """This tree at a path that every user can enter; the clone itself may be below a home that is closed to others."""
    with tempfile.TemporaryDirectory(prefix="scxg-tree-", dir="/run") as folder:
        os.chmod(folder, 0o755)
        subprocess.run(["mount", "--bind", TREE, folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def python_in(tree: Path) -> str:
    """The interpreter of these tests, by its path in `tree`."""
    running = Path(sys.executable)
    return str(tree / running.relative_to(TREE)) if running.is_relative_to(TREE) else str(running)


@contextmanager
def start_supervisor(
    options: SupervisorOptions | None = None,
    *,
    root: Path | None = None,
    env: Mapping[str, str] | None = None,
    state: str = "attached",
) -> Iterator[Supervised]:
    """A supervisor that reached `state`; ended, and the kernel clean, when the block ends."""
    options = options or SupervisorOptions(mode="always")
    if root is None:
        with directories() as own, start_supervisor(options, root=own, env=env, state=state) as sup:
            yield sup
        return
    supervised = launch(options, root, env)
    try:
        if state:
            # A cold start reads Python itself, in an emulated guest from its host and through 9p.
            supervised.wait_state(state, 180)
        yield supervised
    except BaseException:
        sys.stderr.write(supervised.text())
        raise
    finally:
        if supervised.process.poll() is None:
            supervised.process.send_signal(signal.SIGCONT)
            end(supervised.process, 20)
        wait_until("scheduler off", lambda: kernel_state() == "disabled", 20)
    assert "ResourceWarning" not in supervised.text(), supervised.text()


def faulty(**switches: int) -> dict[str, str]:
    """Environment that makes the supervisor load the test build with these faults."""
    return {
        "SCX_GAMER_SCHED_OBJECT": str(find_object("sched_faulty")),
        "SCX_GAMER_SCHED_RODATA": ",".join(f"{name}={value}" for name, value in switches.items()),
    }


@contextmanager
def foreign_object(name: bytes) -> Iterator[Object]:
    """Load a copy of our scheduler, with its own maps, under another name. It takes seconds in an emulated guest."""
    data = find_object("sched").read_bytes()
    ours = b"scx_gamer\0"
    assert len(name) > len(ours) or name  # the name member has 128 bytes, ours is followed by NULs
    at = data.find(ours + b"\0" * 32)
    assert at > 0
    changed = data[:at] + name + data[at + len(name) :]
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        path = Path(folder, "other.bpf.o")
        path.write_bytes(changed)
        with Object.open(path) as obj:
            fit_ops(obj)
            count = os.sysconf("SC_NPROCESSORS_CONF")
            obj.set_rodata(nr_cpus=count)
            obj.maps["cpu_stats"].set_max_entries(count)
            obj.load()
            yield obj


@contextmanager
def scheduling(obj: Object) -> Iterator[None]:
    """Have the kernel schedule by a loaded object."""
    with obj.maps["scx_gamer_ops"].attach_struct_ops():
        wait_until("the other scheduler", lambda: kernel_state() == "enabled")
        yield


@contextmanager
def foreign_scheduler(name: bytes = b"someone_else") -> Iterator[None]:
    """Another scheduler than ours schedules."""
    with foreign_object(name) as obj, scheduling(obj):
        yield


def hooks(name: str = "on_switch") -> list[dict[str, Any]]:
    """A hook, as the kernel has it loaded: by default that on switches for frames."""
    done = subprocess.run(
        ["bpftool", "-j", "prog", "show", "name", name],
        stdout=subprocess.PIPE, check=False, timeout=60,
    )  # fmt: skip
    found = json.loads(done.stdout.strip() or b"[]")  # a line feed where there is none
    return found if isinstance(found, list) else [found]
