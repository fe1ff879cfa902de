# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that look like games to the rules, and the kernel's own maps to compare with."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.libbpf import kernel
from scx_gamer.libbpf._native import native
from scx_gamer.system.closing import Closing
from tests.vm.harness import Supervised, start_supervisor, wait_until
from tests.vm.promises.meters import BUSYBOX

CLASS_GAME, CLASS_CRITICAL, CLASS_BACKGROUND = 1, 2, 3


@dataclass
class Desk:
    """A folder with programs and desktop entries of a test's own; what it starts ends with it."""

    root: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {"SCX_GAMER_DESKTOP_DIRS": str(self.root / "applications")}

    def program(self, name: str, original: str = "/bin/sleep") -> Path:
        """A copy of a program under another name, on a local file system."""
        path = self.root / "bin" / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            shutil.copy(os.path.realpath(original), path)
        return path

    def entry(self, program: Path, name: str = "A Game", categories: str = "Game;") -> None:
        text = f"[Desktop Entry]\nType=Application\nName={name}\nExec={program} %U\nCategories={categories}\n"
        folder = self.root / "applications"
        folder.mkdir(exist_ok=True)
        (folder / f"{program.name}.desktop").write_text(text)

    def start(self, program: Path, *argv: str, env: dict[str, str] | None = None) -> int:
        """Run it in a session of its own; `argv` begins with argument 0. The pid."""
        process = subprocess.Popen(
            list(argv) or ["sleep", "1000"],  # which copies of busybox go by
            executable=str(program),
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.started.append(process)
        return process.pid

    def kill(self, pid: int) -> None:
        """End a process and its session, and take its status."""
        for process in self.started:
            if process.pid == pid and process.poll() is None:
                os.killpg(pid, signal.SIGKILL)
                process.wait(20)

    def close(self) -> None:
        for process in self.started:
            self.kill(process.pid)
        self.started.clear()


@pytest.fixture(scope="session")
def desk() -> Iterator[Desk]:
    with TemporaryDirectory(dir="/run") as folder, ExitStack() as stack:
        made = Desk(Path(folder))
        stack.callback(made.close)
        made.entry(made.program("blobfrenzy", BUSYBOX), "Blob Frenzy")
        made.entry(made.program("snakerun", sys.executable), "Snake Run")  # Python
        yield made


def end_games(desk: Desk, sup: Supervised) -> None:
    """As before the test: what it started is gone, and so is what was done for it."""
    desk.close()
    wait_until("no game", lambda: not sup.ask("games"), 60)
    sup.wait_state("idle")


@pytest.fixture(scope="module")
def shared(desk: Desk) -> Iterator[Supervised]:
    options = SupervisorOptions(mode="auto", input=False)
    with start_supervisor(options, env=desk.env, state="idle") as supervised:
        yield supervised


@pytest.fixture
def sup(desk: Desk, shared: Supervised) -> Iterator[Supervised]:
    """One for all that do not need their own: a start takes an emulated CPU as long as a test. No game runs."""
    yield shared
    end_games(desk, shared)


@pytest.fixture
def classes(shared: Supervised) -> Iterator[KernelMap]:
    with KernelMap("classes") as found:
        yield found


class KernelMap(Closing):
    """A hash map of the running supervisor by its name, with a u32 key: what the kernel itself holds."""

    def __init__(self, name: str) -> None:
        (number,) = [i for i, found in kernel.names("map").items() if found == name]
        self._fd = native()("bpf_map_get_fd_by_id", number)
        assert self._fd >= 0

    def get(self, pid: int) -> int | None:
        """The first u32 of the value."""
        value = ctypes.create_string_buffer(64)
        if native()("bpf_map_lookup_elem", self._fd, struct.pack("<I", pid), value) < 0:
            return None
        return int(struct.unpack_from("<I", value.raw)[0])

    def close(self) -> None:
        os.close(self._fd)


def found(sup: Supervised, pid: int) -> dict[str, object]:
    """The answer to `games explain`, once the process is a game of the kernel's too."""
    with KernelMap("classes") as classes:
        wait_until("its class", lambda: classes.get(pid) == CLASS_GAME, 60)
    told = sup.ask("explain", pid=pid)
    assert isinstance(told, dict) and told["game"], told
    print(
        f"{told['lineage']}: {told['rule']} {told['name']!r}, {told['evidence']}; {told['looked_for']}"
    )
    return told
