# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the package tests, in a Debian 13 with systemd, bus, polkit and Prometheus, on a real kernel."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.debian import BOOKKEEPING
from tests.processes import running
from tests.vm.harness import kernel_state, wait_until

TOP = Path(__file__).resolve().parents[3]
WRITTEN = Path("/mnt/written")  # the layer over the root file system
DEB, UNIT = "scx-gamer", "scx-gamer.service"
STATUS = Path("/run/scx-gamer/status.json")
USER = "games"  # an ordinary one, and no more
HOME = Path("/home/scxg-player")
GAME = HOME / "blobfrenzy"
# What an administrator adds where homes are closed and players come without a seat, as the one of this guest does.
CLOSED_FILES = Path("/usr/share/scx-gamer/systemd/closed-files.conf")
DROP_IN = Path("/etc/systemd/system/scx-gamer.service.d/closed-files.conf")
SETTINGS = Path("/etc/scx-gamer/conf.d/test.toml")


class Steps:
    """Says how long each step took: the folder's time is little more than their sum."""

    def __init__(self, name: str) -> None:
        self._name, self._before = name, time.monotonic()

    def done(self, what: str) -> None:
        before, self._before = self._before, time.monotonic()
        print(f"MEASURED {self._name}: {what}: {self._before - before:.0f} s", flush=True)


def run(*words: str, check: bool = True, timeout: float = 300, user: str = "") -> str:
    command = ["/usr/sbin/runuser", "-u", user, "--", *words] if user else list(words)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=timeout, check=False, stdin=subprocess.DEVNULL, cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"},
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{words}: {done.stdout[-3000:]}{journal()}"
    return done.stdout


def journal() -> str:
    command = ["journalctl", "-b", "-u", UNIT, "--no-pager", "-o", "cat", "-n", "40"]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, errors="replace", timeout=60, check=False
    ).stdout


def files() -> set[str]:
    """Return the files that were written since the boot and still exist."""
    found = set()
    for folder, folders, names in os.walk(WRITTEN):
        inner = os.path.relpath(folder, WRITTEN)
        if BOOKKEEPING.match(inner):
            folders.clear()
            continue
        found |= {os.path.normpath(f"{inner}/{name}") for name in names}
    return {name for name in found if not BOOKKEEPING.match(name) and os.path.lexists(f"/{name}")}


@pytest.fixture(scope="module")
def deb() -> Path:
    """A copy for guests: the tier of packages builds its own while they run."""
    (found,) = (TOP / "build/guest").glob("scx-gamer_*.deb")
    return found


@pytest.fixture(scope="module", autouse=True)
def installed_game() -> None:
    """In a home that is closed to others, as homes are."""
    entries = HOME / ".local/share/applications"
    entries.mkdir(parents=True)
    shutil.copy(os.path.realpath("/bin/sh"), GAME)
    (entries / "blob.desktop").write_text(
        f"[Desktop Entry]\nType=Application\nName=Blob Frenzy\nExec={GAME}\nCategories=Game;\n"
    )
    HOME.chmod(0o700)
    user = pwd.getpwnam(USER)
    for path in (HOME, *HOME.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """In place of the other folders': the purge is the test."""


def published() -> dict[str, Any]:
    """The status as it lies in a file for everybody; empty while there is none."""
    try:
        found = json.loads(STATUS.read_text())
    except OSError:
        return {"state": ""}
    assert isinstance(found, dict)
    return found


def wait_state(state: str) -> None:
    wait_until(f"state {state}", lambda: published()["state"] == state, 180)


def install_and_enable(deb: Path) -> None:
    """As a user does; all dependencies are there, so nothing is forced."""
    run("dpkg", "-i", str(deb))
    assert run("systemctl", "is-enabled", UNIT, check=False).strip() == "disabled"
    assert run("systemctl", "is-active", UNIT, check=False).strip() == "inactive"
    for path in (DROP_IN, SETTINGS):
        path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(CLOSED_FILES, DROP_IN)
    SETTINGS.write_text("[games]\nall_users = true\n[metrics]\nenabled = true\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", UNIT)
    wait_state("idle")
    assert kernel_state() == "disabled"


def purge(before: set[str]) -> None:
    """Purge, and nothing is left of what came after `before`."""
    for path in (DROP_IN, SETTINGS):  # the administrator's own
        path.unlink()
    run("dpkg", "-P", DEB)
    assert "could not be found" in run("systemctl", "status", UNIT, check=False)
    with pytest.raises(KeyError):
        pwd.getpwnam("scx-gamer")
    left = files() - before
    assert not left, sorted(left)
    # not on the path of these tests, which has the tree's own
    assert not shutil.which("scx-gamer", path="/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    assert not STATUS.parent.exists()


@contextmanager
def game() -> Iterator[subprocess.Popen[bytes]]:
    """A program of the ordinary user that its desktop entry calls a game."""
    user = pwd.getpwnam(USER)
    with running(
        ["sh", "-c", "while :; do sleep 0.02; done"], executable=GAME, stdin=subprocess.DEVNULL, cwd="/",
        user=user.pw_uid, group=user.pw_gid, extra_groups=[],
    ) as process:  # fmt: skip
        try:
            wait_until("the scheduler", lambda: kernel_state() == "enabled", 120)
            yield process
        except AssertionError as err:
            why = run("scx-gamer", "games", "explain", str(process.pid), check=False)
            raise AssertionError(f"{err}\n{why}\n{journal()}") from err
