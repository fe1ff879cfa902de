# SPDX-License-Identifier: GPL-2.0-or-later
"""Page flips of weston on virtio-gpu, against a client that knows when it showed a picture."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.frames.flips import FlipSource
from scx_gamer.frames.model import Frame, FrameError, FrameGame
from scx_gamer.frames.stats import FrameStats
from tests.processes import end
from tests.vm.harness import start_supervisor, wait_until

STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
HOOKS = ("on_flip_request", "on_flip_event")
SECONDS = 18
SEED = 1
SHORTEST_NS = 20e6  # a frame of the window takes 25 ms at least


@pytest.fixture(scope="module")
def desktop() -> Iterator[dict[str, str]]:
    """The environment of weston's clients. It draws in software and shows one window alone."""
    subprocess.run(["modprobe", "virtio_gpu"], check=True, timeout=60)
    with tempfile.TemporaryDirectory(prefix="scxg-screen-", dir="/run") as folder:
        own = {"XDG_RUNTIME_DIR": folder, "WAYLAND_DISPLAY": "wl-screen"}
        with Path(folder, "log").open("wb") as log:
            weston = subprocess.Popen(
                ["weston", "--backend=drm-backend.so", "--use-pixman", "--shell=kiosk-shell.so", "--idle-time=0",
                 "--tty=1", "--continue-without-input", f"--socket={own['WAYLAND_DISPLAY']}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **own},
            )  # fmt: skip
        try:
            wait_until("weston", Path(folder, own["WAYLAND_DISPLAY"]).exists, 60, every_s=0.2)
            yield own
        except AssertionError:
            sys.stderr.write(Path(folder, "log").read_text())
            raise
        finally:
            end(weston, 20)


@contextmanager
def window(
    desktop: dict[str, str], seconds: float
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The client, and its log of commits."""
    log = Path(desktop["XDG_RUNTIME_DIR"], "commits")
    program = Path(__file__).with_name("window.py")
    process = subprocess.Popen(
        [os.path.realpath(sys.executable), "-S", str(program), str(log), str(seconds), str(SEED)],
        stdin=subprocess.DEVNULL, env={**os.environ, **desktop},
    )  # fmt: skip
    try:
        wait_until("the window", lambda: log.exists() and log.stat().st_size, 60, every_s=0.1)
        yield process, log
    finally:
        end(process, 20)
        log.unlink()


def hook(name: str) -> dict[str, Any]:
    done = subprocess.run(
        ["bpftool", "-j", "prog", "show", "name", name],
        stdout=subprocess.PIPE, check=False, timeout=60,
    )  # fmt: skip
    found = json.loads(done.stdout.strip() or b"{}")
    assert isinstance(found, dict)  # one program, or none
    return found


def stats_of(frames: list[Frame]) -> FrameStats:
    stats = FrameStats()
    stats.add(frames)
    return stats


def test_flips_are_the_frames_of_the_only_window(desktop: dict[str, str]) -> None:
    """A frame is on the screen up to a refresh after its commit: single frames are off by that, the mean is not."""
    before = STATS.read_text()
    STATS.write_text("1")
    source = FlipSource(patience_s=0)
    seen: list[Frame] = []
    try:
        with window(desktop, SECONDS) as (client, log):
            source.open(FrameGame(client.pid, 0, frozenset({client.pid})))
            while client.poll() is None:
                seen += source.read()
                told = source.tells
                time.sleep(0.5)
            costs = {name: hook(name) for name in HOOKS}
            commits = [int(line) for line in log.read_text().split()]
        with pytest.raises(FrameError, match="no screen shows a new picture"):
            wait_until("its end", lambda: source.read() and None, 10, every_s=0.5)
    finally:
        source.close()
        STATS.write_text(before)
    first, last = seen[0].end_ns - seen[0].took_ns, seen[-1].end_ns
    known = [Frame(b, b - a) for a, b in pairwise(commits) if first <= b <= last]
    mine, truth = stats_of(seen), stats_of(known)
    mean, low = mine.mean_fps / truth.mean_fps - 1, mine.low_fps() / truth.low_fps() - 1
    again = sum(frame.took_ns < SHORTEST_NS for frame in seen)  # weston showed the same picture
    print(
        f"MEASURED flips: {mine.count} ({again} again) of {truth.count} frames,"
        f" mean {mine.mean_fps:.2f} of {truth.mean_fps:.2f}"
        f" ({mean:+.1%}), 1 % low {mine.low_fps():.1f} of {truth.low_fps():.1f} ({low:+.1%})"
    )
    spent = {
        n: round(c["run_time_ns"] / c["run_cnt"]) for n, c in costs.items() if c.get("run_cnt")
    }
    print(f"MEASURED flips: hooks {spent} ns a call of an emulated CPU")
    said = Path(desktop["XDG_RUNTIME_DIR"], "log").read_text()
    mode = re.search(r"@([\d.]+), preferred, current", said)
    print(told, said[-1500:])
    assert mode
    rate = f"{float(mode[1]):.0f}"
    assert told == f"each new picture of a screen of {rate} Hz, which weston asked for"
    assert mine.count > 10 * (SECONDS - 8)
    assert abs(mean) < 0.2
    assert abs(low) < 0.4
    assert not any(hook(name) for name in HOOKS)


def test_flips_serve_where_the_scheduler_cannot_tell(desktop: dict[str, str]) -> None:
    """The window wakes at uneven times, and no log of MangoHud is there."""
    with (
        start_supervisor(SupervisorOptions(mode="auto"), state="idle") as sup,
        window(desktop, 90) as (client, _),
    ):
        assert not any(hook(name) for name in HOOKS)
        sup.ask("game_add", pid=client.pid)

        def told() -> dict[str, Any] | None:
            frames = sup.status().get("frames") or {"count": 0}
            return frames if frames["count"] > 100 else None

        frames = wait_until("frames", told, 80, every_s=0.5)
        assert frames["source"] == "flips" and "weston asked for" in frames["tells"]
        assert {"mangohud", "scheduler"} == frames["why"].keys()
        assert all(hook(name) for name in HOOKS)
        sup.ask("game_remove", pid=client.pid)
        wait_until("the end of the hooks", lambda: not any(hook(n) for n in HOOKS), 30, every_s=0.5)
