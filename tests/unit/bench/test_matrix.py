# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix on this machine's own scheduler, and its bad input."""

import json
import subprocess
from functools import partial
from pathlib import Path

import pytest

from scx_gamer.bench.cells import Spec
from scx_gamer.bench.workload import BenchError
from tests.vm.lockstep import matrix


@pytest.mark.usefixtures("program")
def test_matrix_writes_the_cells_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # no supervisor is to be waited for
    monkeypatch.setattr(matrix, "Spec", partial(Spec, settle_ms=200, warmup_ms=100))
    out = tmp_path / "bench" / "bench.json"
    args = "--loads none,pipes --shapes few --schedulers default,nice --pairs 1 --seconds 0.3"
    assert matrix.main([*args.split(), "--calibration", "20", "--output", str(out)]) == 0
    cells = json.loads(out.read_text())
    assert [(c["load"], c["scheduler"]) for c in cells] == [
        ("none", "default"), ("none", "nice"), ("pipes", "default"), ("pipes", "nice"),
    ]  # fmt: skip
    keys = {
        "load", "shape", "scheduler", "cpus", "marked", "on_time_ratio", "frame_latency_us",
        "input_latency_us", "low1_fps", "background_work", "oldest_waiter_ms",
    }  # fmt: skip
    for cell in cells:
        assert keys <= set(cell)
        for key in ("frame_latency_us", "input_latency_us"):
            assert set(cell[key]) == {"p50", "p99", "p999", "max"}
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(cells)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--loads", "rain"], "unknown load 'rain'"),
        (["--shapes", ""], "no shape was given"),
        (["--schedulers", "magic"], "default, scopes, nice, rr"),
    ],
)
def test_bad_names_are_one_line(
    args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert matrix.main(args) == 1
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("controllers", "says"), [(None, "could not be made"), ("memory pids", "no cpu controller")]
)
def test_scopes_need_a_cpu_controller(
    controllers: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "_CGROUP", tmp_path)
    if controllers is not None:
        (tmp_path / "cgroup.controllers").write_text(controllers)
    before = list(tmp_path.iterdir())
    with pytest.raises(BenchError, match=says), matrix.scope("game"):
        pass
    assert list(tmp_path.iterdir()) == before


def test_a_scope_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "_CGROUP", tmp_path)
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    with matrix.scope("game") as prefix:
        folder = next(p for p in tmp_path.iterdir() if p.is_dir())
        assert f"{folder}/cgroup.procs" in prefix[-1]
        said = subprocess.run([*prefix, "echo", "a b"], capture_output=True, text=True, check=True)
        (folder / "cgroup.procs").unlink()  # a kernel's is no entry of its own
    assert said.stdout == "a b\n"
    assert not folder.exists()
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"
