# SPDX-License-Identifier: GPL-2.0-or-later
"""A real system bus and a real polkitd in the guest, with the files of the package."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scx_gamer.dbus.client import BusClient, NoService
from tests.vm.harness import wait_until
from tests.vm.installed import install

SOCKET = Path("/run/dbus/system_bus_socket")
POLKITD = ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd", "/usr/libexec/polkit-1/polkitd")
# What an administrator would write: one user may manage, by the deprecated name, and one may choose profiles.
RULES = """
polkit.addRule(function(action, subject) {
    if (subject.user == "games" && action.id.indexOf("org.scxgamer.") == 0) return polkit.Result.YES;
    if (subject.user == "games" && action.id == "org.scx.loader.manage-schedulers") return polkit.Result.YES;
    if (subject.user == "news" && action.id == "io.github.scx_gamer.Supervisor1.set-profile") return polkit.Result.YES;
});
"""
STRANGER, MANAGER, PLAYER = "mail", "games", "news"
ASK_S = 0.5  # a question costs as much as what is waited for: not all the time


class System:
    """dbus-daemon and polkitd, started and ended by us."""

    def __init__(self) -> None:
        self.bus: subprocess.Popen[bytes] | None = None
        self.polkit: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        SOCKET.parent.mkdir(parents=True, exist_ok=True)
        SOCKET.unlink(missing_ok=True)
        (SOCKET.parent / "pid").unlink(missing_ok=True)
        daemon = shutil.which("dbus-daemon")
        assert daemon
        self.bus = subprocess.Popen(
            [daemon, "--system", "--nofork", "--nopidfile"], stdin=subprocess.DEVNULL
        )
        wait_until("the bus", SOCKET.exists, 30)
        wait_until("the bus answers", self._answers, 60, ASK_S)

    @staticmethod
    def _answers() -> bool:
        try:
            BusClient(5).close()
        except NoService:
            return False
        return True

    def start_polkit(self) -> None:
        found = next(p for p in POLKITD if Path(p).exists())
        self.polkit = subprocess.Popen([found, "--no-debug"], stdin=subprocess.DEVNULL)
        wait_until("polkitd", lambda: owned("org.freedesktop.PolicyKit1"), 120, ASK_S)

    def stop(self) -> None:
        for process in (self.polkit, self.bus):
            if process is not None:
                process.kill()
                process.wait(10)
        self.bus = self.polkit = None


def owned(name: str) -> bool:
    bus = "org.freedesktop.DBus"
    with BusClient(10) as client:
        answer = client.call(
            "NameHasOwner",
            "s",
            [name],
            interface=bus,
            destination=bus,
            path="/org/freedesktop/DBus",
        )
    return bool(answer[0])


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Not per test: one service lives through several, and looks itself at what it leaves (`service`)."""


@pytest.fixture(scope="session", autouse=True)
def system() -> Iterator[System]:
    install()
    os.environ.pop("SCX_GAMER_RUNTIME_DIR", None)
    Path("/etc/polkit-1/rules.d").mkdir(parents=True, exist_ok=True)
    Path("/etc/polkit-1/rules.d/10-test.rules").write_text(RULES)
    Path("/etc/polkit-1/rules.d").chmod(0o755)
    system = System()
    system.start()
    system.start_polkit()
    try:
        yield system
    finally:
        system.stop()
