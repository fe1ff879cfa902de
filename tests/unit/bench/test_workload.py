# SPDX-License-Identifier: GPL-2.0-or-later
"""The workload program on this machine, built with sanitizers."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.bench import workload
from tests.processes import running

SHAPES = ["few", "chain30", "workers", "cpubound", "unlocked", "fps240", "desktop"]
KINDS = [
    "hogs",
    "compile",
    "forkexec",
    "messaging",
    "pipes",
    "memory",
    "pinned",
    "browser",
]


def run(program: Path, *args: str) -> dict[str, Any]:
    done = subprocess.run([program, *args], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    value = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(value, dict)
    return value


def ordered(p: dict[str, float]) -> bool:
    return 0 <= p["p50"] <= p["p99"] <= p["p999"] <= p["max"]


def test_calibrate_finds_a_rate(program: Path) -> None:
    one = run(program, "calibrate", "--seconds", "0.2")
    assert one["loops_per_us"] > 1
    assert one["threads"] == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_game_delivers_its_frames(program: Path, shape: str) -> None:
    # Nothing but the calibration holds an unlocked game back: a fast idle CPU passes the 5000 fps that are allowed.
    calibration = "200" if shape == "unlocked" else "20"
    r = run(program, "game", "--shape", shape, "--seconds", "0.5", "--calibration", calibration)
    assert r["shape"] == shape
    assert r["frames_delivered"] + r["frames_missed"] >= r["frames_due"] > 0
    assert r["frames_delivered"] > 0.5 * r["frames_due"]
    assert 0 < r["on_time_ratio"] <= 1
    assert r["frame_latency_us"]["n"] == r["frames_delivered"]
    assert ordered(r["frame_latency_us"])
    assert ordered(r["input_latency_us"])
    assert r["input_latency_us"]["n"] == pytest.approx(500, rel=0.1)
    assert 0 < r["low1_fps"] <= r["mean_fps"] + 0.01
    assert 0 < r["cpus_busy"] <= r["cpus"]
    hops = r["wake_to_run_us"]
    if shape not in ("unlocked", "cpubound"):
        assert hops["worker"]["n"] > 0
    for name in ("render", "driver", "compositor"):
        assert hops[name]["n"] > 0, name
    if r["period_us"]:
        due = 0.5e6 / r["period_us"]
        assert r["frames_due"] == pytest.approx(due, abs=1)


def test_period_scales_the_frame_rate(program: Path) -> None:
    r = run(
        program,
        "game",
        "--shape",
        "few",
        "--seconds",
        "0.5",
        "--period-us",
        "50000",
        "--calibration",
        "20",
    )
    assert r["frames_due"] == 10


def test_work_follows_the_calibration(program: Path) -> None:
    def median(loops: int) -> float:
        r = run(
            program,
            "game",
            "--shape",
            "few",
            "--seconds",
            "0.5",
            "--calibration",
            str(loops),
        )
        return float(r["frame_latency_us"]["p50"])

    assert median(400) > 3 * median(20)


def test_live_mode_prints_a_line_a_second(program: Path) -> None:
    done = subprocess.run(
        [
            program,
            "game",
            "--shape",
            "few",
            "--seconds",
            "2.4",
            "--calibration",
            "20",
            "--live",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 4
    assert lines[0] == {"ready": True}
    assert [line["due"] for line in lines[1:3]] == pytest.approx([60, 60], abs=1)
    assert lines[3]["kind"] == "game"


def _used_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("kind", sorted({*KINDS} - {"messaging"}))  # four of its senders may wait
def test_a_load_is_ready_once_each_of_its_tasks_runs(kind: str) -> None:
    """All on one CPU, so that most tasks wait long for their first turn."""
    load = ("load", "--kind", kind, "--cpus", 16, "--calibration", 20, "--live")
    one = ("taskset", "-c", str(min(os.sched_getaffinity(0))))
    with workload.Workload(*load, prefix=one) as running:
        running.wait_ready()
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        used = [_used_ns(int(pid)) for pid in children]
        running.stop()
        assert running.result(30)["tasks"] == 16
    assert len(used) >= 16
    assert all(used)


@pytest.mark.parametrize("kind", KINDS)
def test_load_counts_its_work_and_leaves_nothing(program: Path, kind: str) -> None:
    before = set(Path("/tmp").glob("workload-*"))
    for seconds in ("0.5", "5", "40"):  # one file must be through, on a busy machine too
        times = ("--seconds", seconds, "--cpus", "2", "--calibration", "20")
        r = run(program, "load", "--kind", kind, *times)
        if r["work"]:
            break
    assert r["tasks"] == 2
    assert r["work"] > 0
    assert r["work_per_s"] == pytest.approx(r["work"] / r["seconds"], rel=0.01)
    assert set(Path("/tmp").glob("workload-*")) == before


def test_fraction_of_a_task_per_cpu(program: Path) -> None:
    args = ["--kind", "hogs", "--per-cpu", "0.5", "--cpus", "4", "--seconds", "0.1"]
    assert run(program, "load", *args, "--calibration", "20")["tasks"] == 2


@pytest.mark.parametrize(
    "args",
    [
        ["load", "--kind", "pipes", "--seconds", "60", "--calibration", "20"],
        ["game", "--shape", "few", "--seconds", "60", "--calibration", "20"],
        # nothing was measured yet
        [
            "game",
            "--shape",
            "few",
            "--seconds",
            "60",
            "--calibration",
            "20",
            "--warmup-ms",
            "30000",
        ],
        ["game", "--shape", "few", "--calibration", "20", "--on-signal"],
    ],
)
@pytest.mark.parametrize("prefix", [[], ["nohup"]])
def test_sigterm_ends_it_with_a_report(program: Path, prefix: list[str], args: list[str]) -> None:
    read_fd, write_fd = os.pipe()
    with (
        os.fdopen(read_fd, "rb") as ready,
        running(
            [*prefix, program, *args, "--ready-fd", str(write_fd)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=[write_fd],
            text=True,
        ) as process,
    ):
        os.close(write_fd)
        assert ready.readline() == b"ready\n"
        time.sleep(0.6)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
        assert process.returncode == 0
        assert json.loads(out)["seconds"] < 5  # "nan" is no JSON


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["game", "--shape", "square", "--calibration", "1"], "few chain30"),
        (["load", "--kind", "hogs"], "--calibration is needed"),
        (["load", "--kind", "hogs", "--per-cpu", "-1"], "from 0.01 to 64"),
        (["fly"], "unknown subcommand: fly"),
        ([], "which subcommand"),
    ],
)
def test_bad_input_is_one_clear_line(program: Path, args: list[str], says: str) -> None:
    done = subprocess.run([program, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[0]


def test_a_line_is_passed_on_while_the_program_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that came with the next one told of a game that had ended."""
    seen, program = tmp_path / "seen", tmp_path / "program"
    program.write_text(
        "#!/bin/sh\necho '{\"t_s\":1.0}'\n"
        f"for n in $(seq 100); do [ ! -e {seen} ] || break; sleep 0.1; done\n"
        f"[ -e {seen} ] && echo '{{\"seen\":1}}' || echo '{{\"seen\":0}}'\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(workload, "find_workload", lambda: program)
    lines: list[dict[str, Any]] = []

    def on_line(line: dict[str, Any]) -> None:
        lines.append(line)
        seen.touch()

    with workload.Workload("game") as game:
        assert game.result(60, on_line) == {"seen": 1}
    assert lines == [{"t_s": 1.0}]
