# SPDX-License-Identifier: GPL-2.0-or-later
"""The goals of a matrix, and merging and comparing its parts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scx_gamer.bench.cells import LOADS, SHAPES, Cell, Quantiles
from tests.vm.lockstep.bench import LONG, SHORT, Guests, Part
from tests.vm.lockstep.goals import checks
from tests.vm.lockstep.matrix import CONTENDERS, cell_of, write_json
from tests.vm.lockstep.selftest import differences


def cell(load: str, scheduler: str, shape: str = "few", **changes: Any) -> Cell:
    frame, wake = Quantiles(7000, 7100, 7150, 7200), Quantiles(10, 20, 30, 40)
    made = Cell(
        load, shape, scheduler, 4, scheduler == "scx_gamer", 1.0, frame, wake, 60.0, 0.0, None, 0
    )
    return replace(made, **changes)


IDLE = cell("none", "default")


def missed(*cells: Cell) -> set[tuple[str, str]]:
    return {(c.cell.load, c.what) for c in checks([IDLE, *cells]) if not c.ok}


def test_the_idle_machine_again_keeps_every_promise() -> None:
    ours = [cell(load, "scx_gamer") for load in ("none", "hogs-2", "hogs-8", "pipes")]
    assert not missed(*ours)
    assert len(list(checks([IDLE, *ours]))) >= 5 * len(ours)


@pytest.mark.parametrize(
    ("load", "change", "what"),
    [
        ("hogs-2", {"on_time_ratio": 0.999}, "frames on time"),
        ("hogs-2", {"frame_latency_us": Quantiles(1, 7300, 1, 1)}, "frame p99, us"),
        ("hogs-8", {"low1_fps": 58.0}, "1 % low, fps"),
        ("pipes", {"input_latency_us": Quantiles(1, 31, 1, 1)}, "input p99, us"),
        ("forkexec", {"input_latency_us": Quantiles(1, 20, 101, 1)}, "input p99.9, us"),
        ("none", {"audio_underruns": 1}, "audio underruns"),
    ],
)
def test_each_figure_is_held_to_its_limit(load: str, change: dict[str, Any], what: str) -> None:
    assert missed(cell(load, "scx_gamer", **change)) == {(load, what)}


def test_the_background_keeps_its_share() -> None:
    default = cell("hogs-2", "default", background_work=1000.0)
    assert not missed(default, cell("hogs-2", "scx_gamer", background_work=990.0))
    lost = missed(default, cell("hogs-2", "scx_gamer", background_work=989.0))
    assert lost == {("hogs-2", "background share")}


def test_many_workers_are_held_to_the_better_of_default_and_round_robin() -> None:
    many = [
        cell("none", "default", "workers", frame_latency_us=Quantiles(1, 9600, 1, 1)),
        cell("none", "rr", "workers", frame_latency_us=Quantiles(1, 8000, 1, 1)),
    ]
    ours = cell("none", "scx_gamer", "workers", frame_latency_us=Quantiles(1, 8200, 1, 1))
    assert missed(*many, ours) == {("none", "frame p99, us")}


def test_a_machine_is_held_to_its_own_idle_figures_and_to_round_robin() -> None:
    def at(load: str, scheduler: str, **changes: Any) -> Cell:
        return cell(load, scheduler, machine="smt8", cpus=8, **changes)

    slow = Quantiles(1, 9000, 1, 1)
    idle = at("none", "default", frame_latency_us=slow)
    rr = at("hogs-2", "rr", background_work=1000.0)
    default = at("hogs-2", "default", background_work=2000.0)
    ours = at("hogs-2", "scx_gamer", frame_latency_us=slow, background_work=800.0)
    assert not missed(idle, rr, default, ours)
    worse: dict[str, Any] = {"frame_latency_us": Quantiles(1, 9460, 1, 1), "background_work": 790.0}
    assert missed(idle, rr, default, replace(ours, **worse)) == {
        ("hogs-2", "frame p99, us"), ("hogs-2", "background share"),
    }  # fmt: skip
    assert not list(checks([IDLE, ours]))  # another machine's idle figures are no reference


def test_a_part_of_a_machine_is_named_and_booted_by_it(tmp_path: Path) -> None:
    part = Part("none", "few", 8, machine="smt8")
    assert part.name == "none-few-smt8"
    assert part.guest == ["--machine", "smt8"]
    assert Part("none", "few", 8).guest == ["--cpus", "8"]
    write_json(tmp_path / part.name / "bench.json", [cell("none", "default")])
    with Guests(tmp_path, "default", [], 1, 60) as guests:
        assert [c.machine for c in guests.merged([part])] == ["smt8"]


def test_nothing_is_promised_without_a_reference() -> None:
    assert not list(checks([cell("hogs-2", "scx_gamer", on_time_ratio=0.0)]))


def test_a_cell_survives_its_json() -> None:
    one = cell("hogs-2", "scx_gamer", oldest_waiter_ms=4.5)
    assert cell_of(one.json()) == one


def test_parts_are_merged_in_the_order_of_the_loads(tmp_path: Path) -> None:
    parts = [Part("hogs-2", "few", 4), Part("none", "few", 4), Part("pipes", "few", 4)]
    for part in parts[:2]:
        write_json(tmp_path / part.name / "bench.json", [cell(part.loads, "default")])
    with Guests(tmp_path, "default", [], 1, 60) as guests:
        merged = guests.merged(parts)
    assert [c.load for c in merged] == ["none", "hogs-2"]


def test_the_plans_name_loads_and_shapes_that_exist() -> None:
    for part in (*SHORT, *LONG):
        assert set(part.loads.split(",")) <= set(LOADS)
        assert set(part.shapes.split(",")) <= set(SHAPES)
        assert set((part.schedulers or "default").split(",")) <= set(CONTENDERS)
    assert len(LONG) == 4 * len(SHAPES) * len(LOADS)
    assert len({p.name for p in (*SHORT, *LONG)}) == len(SHORT) + len(LONG)


def test_the_short_plan_measures_every_load_that_has_a_promise() -> None:
    few = {load for p in SHORT if "few" in p.shapes for load in p.loads.split(",")}
    assert few >= {
        "none", "hogs-2", "hogs-8", "compile", "forkexec", "messaging", "pipes", "browser", "memory",
    }  # fmt: skip
    assert any("workers" in p.shapes and "hogs-2" in p.loads for p in SHORT)
    assert any("desktop" in p.shapes and "pingpong" in p.loads for p in SHORT)


def test_a_machine_at_rest_owes_the_others_their_share() -> None:
    rest = cell("none", "default", "desktop")
    default = cell("compile", "default", "desktop", background_work=1000.0)
    slow = cell("compile", "unmarked", "desktop", background_work=989.0, on_time_ratio=0.5)
    found = [(c.what, c.ok) for c in checks([rest, default, slow])]
    assert found == [("background share", False)]
    assert all(c.ok for c in checks([rest, default, replace(slow, background_work=990.0)]))


def test_a_difference_is_relative_to_the_larger_value() -> None:
    other = replace(IDLE, low1_fps=54.0)
    found = {name: off for name, _a, _b, off in differences(IDLE, other)}
    assert found["low1_fps"] == pytest.approx(0.1)
    assert found["frame_latency_us p99"] == 0


def test_every_number_of_a_cell_is_compared_and_one_that_is_missing_differs() -> None:
    one = replace(IDLE, links_p99_us={"input": 7.0}, oldest_waiter_ms=3.0)
    found = {name: off for name, _a, _b, off in differences(one, IDLE)}
    assert found["links_p99_us input"] == found["oldest_waiter_ms"] == 1
    assert not any(off for name, off in found.items() if "latency" in name)
