# SPDX-License-Identifier: GPL-2.0-or-later
"""Medians, the table and the command lines of a measured run; a real run without a scheduler."""

from dataclasses import replace

import pytest

from scx_gamer.bench import demo, workload
from scx_gamer.bench.cells import Cell, Quantiles, Spec, median_cell, run_once

SPEC = Spec("few", "hogs", 1, 0.5, 20.0, period_us=50000, settle_ms=200, warmup_ms=100)


def cell(scheduler: str, p99: float, work: float, wait: float | None = 5.0) -> Cell:
    q = Quantiles(p99 / 2, p99, p99 * 2, p99 * 3)
    return Cell("hogs-2", "few", scheduler, 4, True, 0.5, q, q, 40.0, work, wait, 0)


def test_median_cell_takes_medians_and_the_longest_wait() -> None:
    cells = [cell("default", p, w, g) for p, w, g in [(1, 9, 4.0), (3, 7, None), (2, 8, 6.0)]]
    m = median_cell(cells)
    assert (m.frame_latency_us.p99, m.background_work, m.oldest_waiter_ms, m.runs) == (2, 8, 6.0, 3)


def test_median_cell_refuses_to_mix() -> None:
    with pytest.raises(ValueError, match="different parameters"):
        median_cell([cell("default", 1, 1), cell("scx_gamer", 1, 1)])


def test_table_names_both_sides() -> None:
    text = demo.table([cell("default", 20000, 100), cell("scx_gamer", 7000, 99)])
    row = next(line for line in text.splitlines() if line.startswith("frame p99"))
    assert row.split()[-2:] == ["20.00", "7.00"]


def test_describe_names_state_game_and_open_lanes() -> None:
    lanes = {
        "mouse": {"until_ns": [50], "held_until_ns": [0]},
        "keyboard": {"until_ns": [10], "held_until_ns": [49]},
        "gamepad": {"until_ns": [0], "held_until_ns": [60]},
    }
    snapshot = {"state": "attached", "games": [{"pid": 77}], "windows": lanes}
    text = demo.describe(snapshot, 49)
    assert text.split() == ["attached", "game", "77", "input", "mouse+gamepad"]
    assert "no game" in demo.describe({"state": "idle"}, 49)


@pytest.mark.usefixtures("program")
def test_run_once_measures_game_and_load() -> None:
    c = run_once(SPEC, "default", marked=False)
    assert c.load == "hogs-1"
    assert c.background_work > 0
    assert c.oldest_waiter_ms is not None
    assert 0 < c.frame_latency_us.p50 <= c.frame_latency_us.p99
    quiet = run_once(replace(SPEC, load="none"), "default", marked=False)
    assert (quiet.load, quiet.background_work, quiet.oldest_waiter_ms) == ("none", 0.0, None)


@pytest.mark.usefixtures("program")
def test_a_run_is_measured_from_when_its_load_runs() -> None:
    """Loads that came up late were measured as an idle machine."""
    late = replace(SPEC, seconds=1.3, settle_ms=0)
    lines: list[float] = []
    c = run_once(
        late, "default", marked=False, load_prefix=["sh", "-c", 'sleep 1.5; exec "$0" "$@"'],
        on_line=lambda line: lines.append(line["t_s"]),
    )  # fmt: skip
    assert c.background_work > 0
    # Since the first vsync, which is at most 0.2 s after the game's start: the load's delay and the first second.
    assert lines[0] > 2.0


@pytest.mark.usefixtures("program")
def test_a_load_that_cannot_start_ends_the_run() -> None:
    with pytest.raises(workload.BenchError, match="not a load"):
        run_once(
            replace(SPEC, settle_ms=0), "default", marked=False,
            load_prefix=["sh", "-c", "echo not a load >&2; exit 3"],
        )  # fmt: skip


@pytest.mark.usefixtures("program")
def test_a_failing_workload_says_why() -> None:
    with (
        workload.Workload("load", "--kind", "nothing", "--calibration", 1) as w,
        pytest.raises(workload.BenchError, match="--kind must be one of"),
    ):
        w.result(10)


def test_a_missing_program_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCX_GAMER_WORKLOAD", "/nowhere/workload")
    with pytest.raises(workload.BenchError, match="make workload"):
        workload.find_workload()


def test_a_line_that_is_no_json_is_refused() -> None:
    with pytest.raises(workload.BenchError, match="not JSON"):
        workload.parse_line("hello\n")
