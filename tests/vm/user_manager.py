# SPDX-License-Identifier: GPL-2.0-or-later
"""A user's own systemd in a guest that has no logind to start it."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.vm.harness import wait_until


@contextmanager
def user_manager(name: str, home: str) -> Iterator[Callable[..., str]]:
    """Run systemd and a session bus for the user; the function is `systemctl --user` and returns its output."""
    user = pwd.getpwnam(name)
    runtime = Path(f"/run/user/{user.pw_uid}")
    runtime.mkdir(parents=True, exist_ok=True)
    os.chown(runtime, user.pw_uid, user.pw_gid)
    address = f"unix:path={runtime}/bus"
    env = {"XDG_RUNTIME_DIR": str(runtime), "DBUS_SESSION_BUS_ADDRESS": address, "HOME": home}
    words = [f"{name}={value}" for name, value in env.items()]

    def run(*command: str) -> str:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            timeout=120, stdin=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        return done.stdout

    def systemctl(*more: str) -> str:
        return run("runuser", "-u", name, "--", "env", *words, "systemctl", "--user", *more)

    with ExitStack() as stack:
        for unit, command in (
            ("scxg-bus", ("dbus-daemon", "--session", "--nofork", f"--address={address}")),
            ("scxg-user", ("/usr/lib/systemd/systemd", "--user")),
        ):
            settings = ["-pDelegate=yes", f"-pUser={name}", *(f"-pEnvironment={w}" for w in words)]
            said = run("systemd-run", f"--unit={unit}", "--collect", *settings, *command)
            assert "Running as unit" in said, said
            stack.callback(run, "systemctl", "stop", unit)
        wait_until("the user's systemd", lambda: "running" in systemctl("is-system-running"), 120)
        yield systemctl
