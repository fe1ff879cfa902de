# SPDX-License-Identifier: GPL-2.0-or-later
"""A supervisor with a game that logs its frames, and the commands that a player types beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from scx_gamer.bench.workload import Workload, calibrate
from scx_gamer.config.options import SupervisorOptions
from tests.vm.harness import Supervised, directories, start_supervisor, wait_until

PERIOD_US = 33333  # a light game: an emulated CPU is slow


@contextmanager
def played(
    profile: str = "",
    env: Mapping[str, str] | None = None,
    hogs: int = 0,
    **more: Any,
) -> Iterator[Supervised]:
    """A supervisor that has a game, whose frames it reads; with a profile `mine`, and beside so many hogs a CPU."""
    rate = calibrate(0.5, busy=True)
    common = ("--seconds", 1200, "--calibration", rate)
    with ExitStack() as stack:
        root = stack.enter_context(directories())
        etc = root / "etc"
        etc.mkdir()
        if profile:
            (etc / "profiles").mkdir()
            (etc / "profiles/mine.toml").write_text(profile)
        options = SupervisorOptions(mode="auto", config_dir=str(etc), **more)
        sup = stack.enter_context(start_supervisor(options, root=root, env=env, state="idle"))
        shape = ("--shape", "desktop", "--period-us", PERIOD_US, "--hz", 30, "--warmup-ms", 0)
        log = str(sup.root / "frames.csv")
        game = stack.enter_context(Workload("game", *shape, *common, "--log", log))
        if hogs:
            stack.enter_context(Workload("load", "--kind", "hogs", "--per-cpu", hogs, *common))
        sup.ask("game_add", pid=game.pid)
        sup.wait_state("attached")
        wait_until("frames", lambda: _source_of(sup) == "mangohud", 60, 0.5)
        yield sup


def _source_of(sup: Supervised) -> str:
    return str((sup.status().get("frames") or {}).get("source"))


def command(sup: Supervised, *words: str) -> subprocess.Popen[bytes]:
    folders = {"RUNTIME": "run", "STATE": "state", "CONFIG": "etc"}
    return subprocess.Popen(
        [sys.executable, "-m", "scx_gamer", *words],
        env={
            **os.environ,
            **{f"SCX_GAMER_{name}_DIR": str(sup.root / path) for name, path in folders.items()},
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
