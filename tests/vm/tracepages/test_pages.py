# SPDX-License-Identifier: GPL-2.0-or-later
"""The `trace` commands of docs/, as a reader types them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.pages import PAGES, commands_of
from tests.vm.harness import start_supervisor
from tests.vm.trace.conftest import (
    EVENTS,
    KPROBES,
    target,
)


@EVENTS
@KPROBES
def test_the_commands_of_the_pages(binary: Path) -> None:
    """As a reader types them, one after the other, beside a supervisor that knows the game."""
    lines = [line for page in PAGES for line in commands_of(page)]
    lines = [line for line in dict.fromkeys(lines) if line.startswith("scx-gamer trace ")]
    assert {line.split()[2] for line in lines} == {"wakeups", "who-preempts", "input"}
    with start_supervisor() as supervised, target(binary) as pid:
        supervised.ask("game_add", pid=pid)
        env = {**os.environ, "SCX_GAMER_RUNTIME_DIR": str(supervised.root / "run")}
        for line in lines:
            done = subprocess.run(
                line.replace("PID", str(pid)).split(),
                env=env, capture_output=True, text=True, timeout=180, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
            assert done.stdout and "Traceback" not in done.stderr, line
