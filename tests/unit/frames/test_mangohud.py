# SPDX-License-Identifier: GPL-2.0-or-later
"""MangoHud's logs: as its versions write them, as they grow in a real process, and as a hostile player makes them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from scx_gamer.frames import mangohud
from scx_gamer.frames.mangohud import MangoHudSource
from scx_gamer.frames.mangohud_log import LogError, LogParser, Row
from scx_gamer.frames.model import FrameError, FrameGame

SYSTEM = "os,cpu,gpu,ram,kernel,driver,cpuscheduler\nArch Linux,AMD Ryzen,,16,7.0,,performance\n"
# Of 0.5 (no elapsed), 0.7 and 0.8 (src/logging.cpp of each); log_versioning adds lines.
V5 = SYSTEM + "fps,frametime,cpu_load,gpu_load\n60,16.6667,4,0\n"
V7 = SYSTEM + (
    "fps,frametime,cpu_load,gpu_load,cpu_temp,gpu_temp,gpu_core_clock,gpu_mem_clock,gpu_vram_used,gpu_power,ram_used,"
    "swap_used,process_rss,elapsed\n49.9594,20.0163,3.33333,0,44,0,950,0,0,0,10.039,2.04078,0,39991331\n"
)
V8 = (
    "v1\n0.8.2\n---------------------SYSTEM INFO---------------------\n"
    + SYSTEM
    + "--------------------FRAME METRICS--------------------\n"
    + "fps,frametime,cpu_load,cpu_power,gpu_load,cpu_temp,gpu_temp,gpu_core_clock,gpu_mem_clock,gpu_vram_used,"
    "gpu_power,ram_used,swap_used,process_rss,cpu_mhz,elapsed\n"
    "238.813,4.18737,21.6521,0,84,54,51,3121,1358,4.93264,255,10.734,0,0,3500,333365637\n"
)
# Written by 0.8.4 of Debian sid in a GL program.
V84 = (
    "os,cpu,gpu,ram,kernel,driver,cpuscheduler\n"
    "Debian GNU/Linux forky/sid,AMD EPYC,llvmpipe ,24684096,6.18.44-fc-v595,,\n"
    "fps,frametime,cpu_load,cpu_power,gpu_load,cpu_temp,gpu_temp,gpu_core_clock,gpu_mem_clock,gpu_vram_used,"
    "gpu_power,ram_used,swap_used,process_rss,cpu_mhz,elapsed\n"
    "30.0511,33.2766,100,0,0,0,0,0,0,0,0,4.04083,0,0,0,66192547\n"
)


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (V5, Row(16.6667, None)),
        (V7, Row(20.0163, 39991331)),
        (V8, Row(4.18737, 333365637)),
        (V84, Row(33.2766, 66192547)),
        (V8.replace("\n", "\r\n"), Row(4.18737, 333365637)),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_logs_of_each_version_cut_anywhere(text: str, row: Row, step: int) -> None:
    log = LogParser()
    rows = [r for at in range(0, len(text), step) for r in log.feed(text[at : at + step])]
    assert rows == [row]


@pytest.mark.parametrize("cell", ["nan", "inf", "-1e9", "1e9", "x", "", "\x1b[2J"])
def test_a_damaged_row_is_one_clear_line(cell: str) -> None:
    with pytest.raises(LogError, match=r"^line 4: '[ -~]*' is not a frame time$"):
        LogParser().feed(f"{SYSTEM}frametime,elapsed\n{cell},1\n")
    with pytest.raises(LogError, match="is not a time since the begin"):
        LogParser().feed(f"{SYSTEM}frametime,elapsed\n1,{cell.replace('1e9', '1e17')}\n")


def test_a_log_without_an_end_is_bounded() -> None:
    with pytest.raises(LogError, match="longer than"):
        LogParser().feed("x" * 5000)
    with pytest.raises(LogError, match="no column"):
        LogParser().feed("x\n" * 100)


# ---- of a process ----

# Holds argv[1] open as MangoHud does, and appends each line that it is told.
_HOLDER = """
import sys
log = open(sys.argv[1], "a")
print("open", flush=True)
for line in sys.stdin:
    log.write(line); log.flush(); print("done", flush=True)
"""


class Holder:
    """A process with a log."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _HOLDER, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.game = FrameGame(self._process.pid, os.getuid(), frozenset({self._process.pid}))
        self._answer()

    def _answer(self) -> None:
        assert self._process.stdout
        self._process.stdout.readline()

    def write(self, text: str) -> None:
        assert self._process.stdin
        for line in text.splitlines():
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            self._answer()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[Path], Holder]]:
    holders: list[Holder] = []

    def begin(path: Path) -> Holder:
        holders.append(Holder(path))
        return holders[-1]

    yield begin
    for holder in holders:
        holder.end()


@pytest.fixture
def source() -> Iterator[MangoHudSource]:
    made = MangoHudSource()
    yield made
    made.close()


def rows(first: int, count: int, ms: float = 16.0, every: float = 1.0) -> str:
    return "".join(
        f"60,{ms},{int((n + 1) * ms * every * 1e6)}\n" for n in range(first, first + count)
    )


HEAD = SYSTEM + "fps,frametime,elapsed\n"


def test_a_log_is_found_in_its_process_and_followed(
    hold: Callable[[Path], Holder], source: MangoHudSource, tmp_path: Path
) -> None:
    game = hold(tmp_path / "game_2026-01-01_00-00-00.csv")
    with pytest.raises(FrameError, match="no log"):  # begun, but without a header
        source.open(game.game)
    game.write(HEAD)
    game.write(rows(0, 3))
    source.open(game.game)  # frames of before count as well
    before = time.monotonic_ns()
    first = source.read()
    assert [f.took_ns for f in first] == [16_000_000] * 3
    assert before <= first[-1].end_ns <= time.monotonic_ns()
    game.write(rows(3, 200))
    second = source.read()
    assert len(second) == 200
    ends = [f.end_ns for f in first + second]
    assert ends == sorted(ends) and ends[-1] <= time.monotonic_ns()


def test_a_log_that_stopped_ends_the_source_and_no_frame_counts_twice(
    hold: Callable[[Path], Holder], source: MangoHudSource, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    game = hold(tmp_path / "paused.csv")
    game.write(HEAD + rows(0, 10))
    source.open(game.game)
    assert len(source.read()) == 10 and source.read() == []
    with monkeypatch.context() as patch:
        patch.setattr(mangohud, "_SILENT_S", 0.05)
        time.sleep(0.1)
        with pytest.raises(FrameError, match="does not grow"):
            source.read()
        source.close()
        with pytest.raises(FrameError, match="no log"):
            source.open(game.game)
    game.write(rows(10, 4))
    source.open(game.game)
    assert len(source.read()) == 4


def test_of_a_long_log_the_end_is_read(
    hold: Callable[[Path], Holder], source: MangoHudSource, tmp_path: Path
) -> None:
    path = tmp_path / "long.csv"
    path.write_text(HEAD + rows(0, 30_000))
    assert path.stat().st_size > mangohud.MAX_BYTES + 100_000
    source.open(hold(path).game)
    found = source.read()
    assert 1000 < len(found) < 30_000
    assert {f.took_ns for f in found} == {16_000_000}
    assert source.read() == []


def test_a_row_whose_begin_was_not_read_is_left_out(
    hold: Callable[[Path], Holder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cut.csv"
    path.write_text(HEAD + rows(0, 100))
    game = hold(path).game
    for cut in range(1000, 1040):
        monkeypatch.setattr(mangohud, "MAX_BYTES", cut)
        with closing(MangoHudSource()) as source:
            source.open(game)
            found = source.read()
        assert len(found) > 20 and {f.took_ns for f in found} == {16_000_000}


def test_samples_are_no_frames(
    hold: Callable[[Path], Holder], source: MangoHudSource, tmp_path: Path
) -> None:
    path = tmp_path / "sampled.csv"
    path.write_text(HEAD + rows(0, 50, every=6))
    source.open(hold(path).game)
    with pytest.raises(FrameError, match="samples, not each frame"):
        source.read()


def test_a_log_that_is_cut_or_damaged_ends_the_source(
    hold: Callable[[Path], Holder], source: MangoHudSource, tmp_path: Path
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(HEAD)
    game = hold(path)
    source.open(game.game)
    game.write("60,hello,1\n")
    with pytest.raises(FrameError, match=r"damaged: .*'hello'"):
        source.read()
    path.write_text("")
    with pytest.raises(FrameError, match="cut"):
        source.read()
    source.close()
    with pytest.raises(FrameError, match="closed"):
        source.read()


def test_what_is_no_log_of_the_players_is_left_alone(
    hold: Callable[[Path], Holder], source: MangoHudSource, tmp_path: Path
) -> None:
    """A pipe, a summary, a file of another user, one that was deleted, a process that ended."""
    os.mkfifo(tmp_path / "pipe.csv")
    keeper = os.open(tmp_path / "pipe.csv", os.O_RDWR | os.O_NONBLOCK)
    pipe = hold(tmp_path / "pipe.csv")
    with pytest.raises(FrameError, match="no regular file"):
        source.open(pipe.game)
    os.close(keeper)
    (tmp_path / "a_summary.csv").write_text(HEAD + rows(0, 3))
    with pytest.raises(FrameError, match="no log"):
        source.open(hold(tmp_path / "a_summary.csv").game)
    (tmp_path / "b.csv").write_text(HEAD + rows(0, 3))
    other = hold(tmp_path / "b.csv").game
    with pytest.raises(FrameError, match="no regular file"):
        source.open(FrameGame(other.pid, other.uid + 1, other.pids))
    (tmp_path / "b.csv").unlink()
    with pytest.raises(FrameError, match="no log"):
        source.open(other)
    with pytest.raises(FrameError, match="no log"):
        source.open(FrameGame(1 << 22, os.getuid(), frozenset({1 << 22})))


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_without_the_capability_it_says_what_to_do(
    hold: Callable[[Path], Holder], tmp_path: Path
) -> None:
    """In a process of its own, which gives its user up: a thread's own would keep root's capabilities."""
    game = hold(tmp_path / "x.csv").game
    program = (
        "import os; from scx_gamer.frames.mangohud import MangoHudSource, FrameGame, FrameError\n"
        "os.setresuid(1, 1, 1)\n"
        f"try: MangoHudSource().open(FrameGame({game.pid}, 0, frozenset({{{game.pid}}})))\n"
        "except FrameError as err: print(err)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert "closed-files.conf" in done.stdout


def test_no_descriptor_is_left(
    hold: Callable[[Path], Holder], source: MangoHudSource, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("no log\n" * 200)
    (tmp_path / "y.csv").write_text(HEAD)
    bad, good = hold(tmp_path / "x.csv").game, hold(tmp_path / "y.csv").game
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FrameError):
        source.open(bad)
    source.open(good)
    source.close()
    assert set(os.listdir("/proc/self/fd")) == before
