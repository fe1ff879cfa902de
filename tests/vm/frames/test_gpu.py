# SPDX-License-Identifier: GPL-2.0-or-later
"""The time in which a GPU works for the game, against fences of vgem that a process signals when it chooses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scx_gamer.config.options import SupervisorOptions
from tests.processes import end
from tests.vm.frames.programs import GPU
from tests.vm.frames.test_frames import HOOK_NS, STATS, frames
from tests.vm.harness import hooks, start_supervisor, wait_until

HOOKS = ("on_fence_init", "on_fence_signal")
WINDOW_S = 13  # fill the ten seconds of the status
METRICS = "127.0.0.1:9714"
OFF = 0.01  # a frame is 0.2 % of these, and a reading 20 us late


@pytest.fixture(scope="module")
def node() -> str:
    for module in ("gpu-sched", "vgem"):
        subprocess.run(["modprobe", module], check=True, timeout=60)
    [card] = Path("/sys/devices").glob("*/vgem/drm/card*")
    return f"/dev/dri/{card.name}"


@contextmanager
def gpu(node: str, *ms: float) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [os.path.realpath(sys.executable), "-S", "-c", GPU, node, *map(str, ms)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        end(process, 20)
        assert process.stdout
        process.stdout.close()


def scrape() -> dict[str, float]:
    """The metrics of the GPU, by what they have behind their common prefix."""
    with urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    prefix = "scx_gamer_game_gpu_"
    found = (line.removeprefix(prefix).split() for line in lines if line.startswith(prefix))
    return {name: float(value) for name, value in found}


@pytest.mark.parametrize("ms", [(4, 6, 7), (1, 12, 0)])
def test_the_gpu_works_for_the_game_while_it_has_a_job_of_it(
    node: str, ms: tuple[float, ...]
) -> None:
    """Beside a program that is no game, whose GPU never rests."""
    before = STATS.read_text()
    STATS.write_text("1")
    options = SupervisorOptions(mode="auto", session_every_s=1.0, metrics_address=METRICS)
    try:
        with start_supervisor(options, state="idle") as sup, gpu(node, 0, 5, 0):
            with gpu(node, *ms) as game:
                sup.ask("game_add", pid=game.pid)
                wait_until("the hooks", lambda: hooks(HOOKS[1]), 30, every_s=0.2)
                time.sleep(WINDOW_S)
                told, scraped = frames(sup)["gpu"], scrape()
                costs = {
                    name: one["run_time_ns"] / one["run_cnt"]
                    for name in HOOKS
                    for one in hooks(name)
                }
                game.terminate()
                out, _ = game.communicate(timeout=20)
            busy_s, total_s, jobs = map(float, out.split())
            wait_until("the end of the hooks", lambda: not hooks(HOOKS[1]), 30, every_s=0.5)
            assert not scrape()
            [record] = sup.ask("sessions")
        print(
            f"MEASURED gpu: at work {told['busy']:.1%} of {busy_s / total_s:.1%}, {told['jobs']} jobs;"
            f" scraped {scraped}; recorded {json.dumps(record['gpu'])} of {busy_s:.2f} s, {jobs:.0f}; hooks"
            f" { ({name: round(ns) for name, ns in costs.items()}) } ns a fence"
        )
        assert told["why"] == ""
        assert told["busy"] == pytest.approx(busy_s / total_s, abs=OFF)
        assert told["jobs"] == pytest.approx(10 * jobs / total_s, rel=0.05)
        assert scraped == pytest.approx(
            {"busy_ratio": busy_s / total_s, "jobs": 10 * jobs / total_s}, rel=0.05
        )
        recorded = record["gpu"]
        assert recorded["busy_s"] / recorded["seconds"] == pytest.approx(busy_s / total_s, abs=0.1)
        assert all(ns < HOOK_NS for ns in costs.values()), costs
    finally:
        STATS.write_text(before)
