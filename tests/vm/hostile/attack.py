# SPDX-License-Identifier: GPL-2.0-or-later
"""The user of tests/hostile_user.py, with ten thousand processes, beside the installed supervisor."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import hostile_user
from tests.vm.bus.conftest import STRANGER
from tests.vm.harness import wait_until

PROCESSES = 10_000
PROGRAM = Path("/run/hostile-processes")  # where that user may run it
SOURCE = Path(hostile_user.__file__)


@contextmanager
def attack() -> Iterator[None]:
    """Run the user, from when all processes are there."""
    source = SOURCE.with_name("hostile_processes.c")
    subprocess.run(["cc", "-O2", "-o", PROGRAM, source], check=True, timeout=120)
    uid = pwd.getpwnam(STRANGER).pw_uid
    user = subprocess.Popen(
        [sys.executable, SOURCE, str(uid), "/run/scx-gamer", "9714", PROGRAM, str(PROCESSES)],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parents[1])},
    )  # fmt: skip
    try:
        assert user.stdout is not None
        assert user.stdout.readline() == b"ready\n"
        yield
    finally:
        os.killpg(user.pid, signal.SIGKILL)
        user.communicate(timeout=30)
        PROGRAM.unlink()
        wait_until("the end of its processes", lambda: not _is_group(user.pid), 120, 0.5)


def _is_group(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True
