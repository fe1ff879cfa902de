# SPDX-License-Identifier: GPL-2.0-or-later
"""A real game: Chocolate Doom plays a recorded demo beside two CPU hogs per CPU, and says how fast."""

import re
import statistics
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scx_gamer.bench.session import CLI, Session, query
from scx_gamer.bench.workload import Workload, calibrate

GAME = Path("/usr/games/chocolate-doom")
IWAD = Path("/usr/share/games/doom/freedoom1.wad")
TICS = 150  # of the demo's 1531: enough frames to measure, few enough for an emulated CPU
PAIRS = 2
CLEARLY = 1.25  # times the frames
_HEADER = 13
_END = b"\x80"


def short_demo(iwad: Path, tics: int) -> bytes:
    """The first tics of lump DEMO1: a header, four bytes a tic for its one player, an end mark."""
    data = iwad.read_bytes()
    magic, lumps, directory = struct.unpack_from("<4sii", data)
    assert magic == b"IWAD"
    for i in range(lumps):
        start, size, name = struct.unpack_from("<ii8s", data, directory + 16 * i)
        if name.rstrip(b"\0") == b"DEMO1":
            assert size > _HEADER + 4 * tics
            return bytes(data[start : start + _HEADER + 4 * tics]) + _END
    raise AssertionError(f"{iwad} has no demo")


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    for path in (GAME, IWAD):
        assert path.exists(), f"{path} is missing: apt install chocolate-doom freedoom"
    path = tmp_path / "short.lmp"
    path.write_bytes(short_demo(IWAD, TICS))
    return path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(log=tmp_path / "supervisor.log") as session:
        yield session


def play(demo: Path, home: Path) -> float:
    """Frames per second that the game reports for the demo, started as the user's game."""
    done = subprocess.run(
        [*CLI, "exec", "--", GAME, "-iwad", IWAD, "-timedemo", demo, "-nosound", "-nogui"],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "SDL_VIDEODRIVER": "dummy",
            "SDL_AUDIODRIVER": "dummy",
            "PYTHONPATH": ":".join(sys.path),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    said = re.search(r"timed (\d+) gametics in \d+ realtics \(([\d.]+) fps\)", done.stderr)
    assert said, f"no result from the game: {done.stdout[-500:]} {done.stderr[-500:]}"
    assert int(said[1]) == TICS
    return float(said[2])


@pytest.mark.timeout(840)  # four plays beside hogs, on one emulated CPU
def test_timedemo_is_faster_with_the_scheduler_under_hogs(
    demo: Path, session: Session, tmp_path: Path
) -> None:
    rate = calibrate(0.5, busy=True)
    fps: dict[str, list[float]] = {"stop": [], "start": []}
    hogs: list[str | float] = [
        "--kind",
        "hogs",
        "--per-cpu",
        2,
        "--seconds",
        3600,
        "--calibration",
        rate,
    ]
    for _ in range(PAIRS):
        for verb, seen in fps.items():
            query(verb)
            if verb == "stop":
                session.wait_scheduler("")
            with Workload("load", *hogs):
                seen.append(play(demo, tmp_path))
    without, with_it = (statistics.median(fps[verb]) for verb in ("stop", "start"))
    print(f"chocolate-doom, 2 hogs per CPU: without {fps['stop']}, with {fps['start']}")
    print(f"medians {without:.1f} and {with_it:.1f} fps, {with_it / without:.2f} times")
    assert with_it > CLEARLY * without
