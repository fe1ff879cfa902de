# SPDX-License-Identifier: GPL-2.0-or-later
"""Real headless desktops, run as an ordinary user, and an adapter connected to one."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from scx_gamer.agent.model import Adapter
from tests.processes import end

PATIENCE_S = 30.0
Seen = tuple[str, int, bool]


class Session:
    """A directory and an environment for the programs of a session, which end with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        # a compositor refuses to run as root; as anybody else it runs as who we are
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        if os.geteuid() == 0:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        self.env = {
            "PATH": os.environ["PATH"] + ":/usr/games",
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "LC_ALL": "C.UTF-8",
        }

    def start(
        self, *argv: str, stdin: int = subprocess.DEVNULL, **env: str
    ) -> subprocess.Popen[bytes]:
        """Start a program of the session, with its output in a log in the directory."""
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            as_user = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(
                argv, env={**self.env, **env}, stdin=stdin, stdout=log, stderr=log,
                cwd=self.folder, start_new_session=True, **as_user,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def wait_for(self, what: str, probe: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := probe()):
            ended = [p.args for p in self.processes if p.poll() not in (None, 0)]
            if time.monotonic() > deadline or ended:
                log = (self.folder / "log").read_text(errors="replace")[-3000:]
                raise AssertionError(f"{what} did not come ({ended} ended)\n{log}")
            time.sleep(0.05)
        return found

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    def bus(self) -> str:
        """Start a session bus and return its address."""
        path = self.folder / "bus"
        address = f"unix:path={path}"
        config = self.write(
            "bus.conf",
            "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN'"
            " 'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>"
            f"<busconfig><type>session</type><listen>{address}</listen>"
            "<policy context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/>"
            "<allow own='*'/><allow user='*'/></policy></busconfig>",
        )
        self.start("dbus-daemon", f"--config-file={config}", "--nofork")
        self.wait_for("the bus", lambda: path.exists() and _answers(path))
        return address

    def close(self) -> None:
        for process in reversed(self.processes):
            end(process, 5)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextmanager
def session() -> Iterator[Session]:
    folder = Path(
        tempfile.mkdtemp(prefix="scxg-", dir="/tmp")
    )  # a socket's path may have 107 characters
    folder.chmod(0o700)
    own = Session(folder)
    try:
        yield own
    finally:
        own.close()
        shutil.rmtree(folder, ignore_errors=True)


class Ear:
    """The reports of an adapter, in order."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.why = ""
        self._more = asyncio.Event()

    def report(self, kind: str, pid: int, active: bool, why: str = "") -> None:
        self.why = why
        self.seen.append((kind, pid, active))
        self._more.set()

    async def until(self, wanted: Seen) -> None:
        """Wait until the last report is as given, and clear the reports."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not self.seen or self.seen[-1] != wanted:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"no {wanted}; last came {self.seen[-5:]}") from None
        self.seen.clear()


@asynccontextmanager
async def listening(adapter: Adapter) -> AsyncIterator[Ear]:
    """Run an adapter inside the block. Its failure fails the test."""
    ear = Ear()
    task = asyncio.create_task(adapter.run(ear.report))
    block = asyncio.current_task()
    assert block is not None
    task.add_done_callback(lambda t: None if t.cancelled() else block.cancel())
    try:
        yield ear
    except asyncio.CancelledError:
        if task.done() and not task.cancelled():
            block.uncancel()
            raise task.exception() or AssertionError("the adapter ended") from None
        raise
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until_ended(adapter: Adapter) -> str:
    """Return the error of an adapter whose desktop ended."""
    from scx_gamer.agent.model import AgentError

    try:
        async with asyncio.timeout(PATIENCE_S):
            await adapter.run(lambda _kind, _pid, _active, why="": None)
    except AgentError as err:
        return str(err)
    raise AssertionError("the adapter ended without a word")


def env_of(session: Session, more: Mapping[str, str]) -> dict[str, str]:
    return {**session.env, **more}
