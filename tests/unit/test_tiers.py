# SPDX-License-Identifier: GPL-2.0-or-later
"""Tiers of the tests: the plan names every folder, a batch keeps to its kind of guest, and red stays red."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiers
from tests.suite import guests, table
from tests.suite.jobs import SET_UP, Emit, Job, Result, Runner, check, pytest_counts
from tests.suite.plan import TREE, VM, PlanError, batches, load
from tests.suite.progress import Progress, Times
from tests.vm.vmlib import kernels

OLDEST, NEWEST = kernels.table()["oldest"], kernels.table()["newest"]


def results(jobs: list[Job], workers: int = 2) -> list[Result]:
    return [r for r in Runner(jobs, workers).results(60) if r is not None]


def job(name: str, *, passed: int = 1, failed: int = 0, alone: bool = False) -> Job:
    def run(emit: Emit) -> None:
        emit(Result("tier", name, passed, failed, 0.0, ""))

    return Job("tier", (name,), run, alone=alone)


def test_every_folder_is_planned_and_every_planned_folder_is_there() -> None:
    assert set(load().folders) == {path.parent.name for path in VM.glob("*/test_*.py")}


def test_a_folder_left_out_of_make_test_says_why_and_what_finds_its_faults() -> None:
    for folder in load().folders.values():
        assert bool(folder.test) != bool(folder.reason and folder.instead), folder.name
        assert folder.test or folder.rest, f"{folder.name} never runs"


def test_make_test_has_both_kernels_and_the_kinds_of_guest() -> None:
    planned = [f for f in load().folders.values() if f.test]
    assert {k for f in planned for k in f.test} == {OLDEST, NEWEST}
    every = {f.guest.name for f in load().folders.values()}
    # In test-all alone: guests of the other kinds with a card, and the packages' own root.
    assert {f.guest.name for f in planned} == every - {"screen", "desktop", "trixie"}


def test_a_folder_on_another_architecture_has_that_ones_guest() -> None:
    plan = load()
    for kernel in kernels.foreign():
        architecture = kernels.table()["foreign"][kernel]["architecture"]
        there = [f for f in plan.folders.values() if kernel in f.rest]
        assert there, f"nothing runs on {kernel}"
        assert {plan.on(kernel, f).guest.name for f in there} == {architecture}
        assert all(plan.on(NEWEST, f) is f for f in there)
        assert kernel not in kernels.names(), "folders of every kernel would run there"


def test_the_map_in_the_readme_is_the_plan() -> None:
    text = (TREE / "tests/README.md").read_text()
    assert table.markdown(load()) in text, "put the output of tests/tiers.py --table there"


def test_a_batch_is_of_one_kind_in_the_order_of_the_plan() -> None:
    folders = list(load().folders.values())
    order = [f.name for f in folders]
    packed = batches(NEWEST, folders, {})
    assert sorted(f.name for b in packed for f in b.folders) == sorted(order)
    for batch in packed:
        assert len({(f.guest.name, f.cpus, f.alone) for f in batch.folders}) == 1
        assert [f.name for f in batch.folders] == sorted(
            (f.name for f in batch.folders), key=order.index
        )
        assert len(batch.folders) == 1 or not any(f.own_guest for f in batch.folders)


def test_a_batch_ends_where_it_would_take_too_long() -> None:
    plain = [f for f in load().folders.values() if f.guest.name == "plain" and not f.alone]
    seconds = dict.fromkeys((f.name for f in plain), 100.0)
    packed = batches(NEWEST, [f for f in plain if not f.own_guest], seconds, limit_s=250.0)
    assert max(len(b.folders) for b in packed) == 2


def test_folders_in_virtual_time_share_a_guest_for_longer() -> None:
    virtual = [f for f in load().folders.values() if f.guest.steady and not f.own_guest]
    one, other = [f for f in virtual if f.cpus == 4][:2]
    assert len(batches(NEWEST, [one, other], {one.name: 400.0, other.name: 400.0})) == 1
    assert len(batches(NEWEST, [one, other], {one.name: 600.0, other.name: 600.0})) == 2


def test_an_unknown_folder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTS", "attach nonsense")
    with pytest.raises(PlanError, match="no folder nonsense"):
        tiers.tier_jobs(load(), Times(Path("/nonexistent/times")), "vm:newest")


class Watched:
    """Jobs that note which others run while they do."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.beside: dict[str, set[str]] = {}
        self._running: set[str] = set()
        self._lock = threading.Lock()

    def job(
        self,
        name: str,
        work: Callable[[], object] = lambda: time.sleep(0.05),
        alone: bool = False,
        steady: bool = False,
        whole_machine: bool = False,
    ) -> Job:
        def run(emit: Emit) -> None:
            with self._lock:
                self.begun.append(name)
                for one in self._running:
                    self.beside[one].add(name)
                self.beside[name] = set(self._running)
                self._running.add(name)
            work()
            with self._lock:
                self._running.remove(name)
            emit(Result("tier", name, 1, 0, 0.0, ""))

        return Job("tier", (name,), run, (), alone, steady, whole_machine)


def test_jobs_that_measure_time_run_after_the_others_and_one_by_one() -> None:
    watched = Watched()
    jobs = [watched.job(f"alone {n}", alone=True) for n in range(3)]
    assert len(results([*jobs, *(watched.job(f"usual {n}") for n in range(3))])) == 6
    assert [name.split()[0] for name in watched.begun] == ["usual"] * 3 + ["alone"] * 3
    assert not any(watched.beside[f"alone {n}"] for n in range(3))


@pytest.mark.parametrize("workers", [2, 4])
def test_beside_a_job_that_measures_time_the_other_cpus_do_steady_work(workers: int) -> None:
    """Each waits for the other kind, so that neither has ended before the other begins."""
    watched = Watched()
    measures, steady = threading.Event(), threading.Event()

    def wait(own: threading.Event, other: threading.Event) -> Callable[[], object]:
        def work() -> None:
            own.set()
            other.wait(10)

        return work

    jobs = [watched.job("steady in its turn", steady=True)]
    jobs += [watched.job(f"usual {n}") for n in range(4)]
    jobs += [watched.job(f"steady {n}", wait(steady, measures), steady=True) for n in range(4)]
    jobs += [watched.job(f"alone {n}", wait(measures, steady), alone=True) for n in range(3)]
    assert len(results(jobs, workers)) == 12
    assert "steady in its turn" in watched.begun[:workers]
    companions = [name for n in range(3) for name in watched.beside[f"alone {n}"]]
    assert companions and {name.split()[0] for name in companions} == {"steady"}


def test_a_job_that_measures_time_begins_beside_a_long_steady_one_and_then_the_others_wait() -> (
    None
):
    """Else it would be left for the end, where one CPU has nothing to do."""
    watched = Watched()
    begun, ended = threading.Event(), threading.Event()

    def measure() -> None:
        begun.set()
        time.sleep(0.3)  # in which the steady one ends, and a worker asks for more
        ended.set()

    jobs = [
        watched.job("steady", lambda: begun.wait(10), steady=True),
        *(watched.job(f"usual {n}", lambda: ended.wait(10)) for n in range(2)),
        watched.job("alone", measure, alone=True),
    ]
    assert len(results(jobs)) == 4
    assert watched.begun[:2] == ["steady", "alone"] and watched.beside["alone"] == {"steady"}


@pytest.mark.parametrize("alone", [False, True])
def test_beside_what_takes_the_whole_machine_nothing_runs(alone: bool) -> None:
    watched = Watched()
    jobs = [watched.job(f"whole {n}", whole_machine=True, alone=alone) for n in range(2)]
    jobs += [watched.job(f"steady {n}", steady=True) for n in range(3)]
    jobs += [watched.job("usual"), watched.job("alone", alone=True)]
    assert len(results(jobs, 3)) == 7
    assert not watched.beside["whole 0"] and not watched.beside["whole 1"]


def test_what_is_stopped_begins_nothing_more_and_is_waited_for() -> None:
    begun, ended = threading.Event(), threading.Event()

    def slow(emit: Emit) -> None:
        begun.set()
        time.sleep(2.5)  # longer than the first beat takes to come
        emit(Result("tier", "slow", 1, 0, 0.0, ""))
        ended.set()

    runner = Runner([Job("tier", ("slow",), slow), job("never")], workers=1)
    beats = runner.results(0.01)
    assert next(beats) is None and begun.wait(5)
    runner.stop()
    assert ended.is_set()
    assert [r.name for r in beats if r is not None] == ["slow"]


def test_what_a_job_does_not_report_has_failed() -> None:
    def silent(emit: Emit) -> None:
        emit(Result("tier", "one", 1, 0, 0.0, ""))

    def broken(_emit: Emit) -> None:
        raise OSError("no guest")

    found = results([Job("tier", ("one", "two"), silent), Job("tier", ("three",), broken)])
    assert {r.name: r.failed for r in found} == {"one": 0, "two": 1, "three": 1}
    assert "OSError: no guest" in next(r.output for r in found if r.name == "three")


def test_what_was_not_prepared_does_not_run() -> None:
    ran: list[str] = []

    def run(_emit: Emit) -> None:
        ran.append("ran")

    found = results([Job("tier", ("one", "two"), run, needs=("false", "true"))])
    assert not ran
    assert sum(r.failed for r in found if r.tier == "tier") == 2
    assert "false" in next(r.output for r in found if r.name == "two")
    assert [r.failed for r in found if r.tier == SET_UP and r.name == "prepare false"] == [1]


def test_a_command_that_is_missing_fails_its_check() -> None:
    (found,) = results([check("lint", "one", ["/nonexistent/tool"])])
    assert found.failed == 1 and "is missing" in found.output


def test_a_skipped_test_and_a_silent_failure_count_as_failed() -> None:
    assert pytest_counts("3 passed, 1 skipped in 2 s", 0) == (3, 1)
    assert pytest_counts("no tests ran", 5) == (0, 1)


def test_the_summary_counts_a_tier_without_tests_and_a_failed_preparation() -> None:
    jobs = [job("one"), Job("empty", (), lambda _emit: None)]
    lines, passed, failed = tiers.summary(
        jobs, [Result("tier", "one", 2, 0, 1.0, ""), Result(SET_UP, "prepare x", 0, 1, 1.0, "")]
    )
    assert (passed, failed) == (2, 2)
    assert "empty: this tier ran no test" in lines


def test_a_folder_whose_guest_dies_is_red_and_those_before_it_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest is a script here that ends after the first folder."""
    plan = load()
    (batch,) = batches(NEWEST, plan.chosen(["exits", "libbpf"]), {}, limit_s=1e9)
    one = guests._Run(batch, True, {f.name: f.seconds for f in batch.folders})
    script = (
        'echo "2 passed in 1 s" >$SCX_GAMER_SCRATCH/libbpf.out; echo "0 7" >$SCX_GAMER_SCRATCH/libbpf.done;'
        "echo it panicked"
    )
    monkeypatch.setattr(guests._Run, "_command", lambda _self, _scratch: ["sh", "-c", script])
    found: list[Result] = []
    one.follow(found.append)
    assert [(r.name, r.passed, r.failed, r.seconds) for r in found[:2]] == [
        (f"vm {NEWEST} libbpf", 2, 0, 7.0),
        (f"vm {NEWEST} exits", 0, 1, 0.0),
    ]
    assert "it panicked" in found[1].output


def test_a_folder_in_virtual_time_takes_as_long_as_it_takes_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = load()
    (batch,) = batches(NEWEST, plan.chosen(["loads"]), {}, limit_s=1e9)
    script = 'echo "1 passed in 70 s" >$SCX_GAMER_SCRATCH/loads.out; echo "0 70" >$SCX_GAMER_SCRATCH/loads.done'
    monkeypatch.setattr(guests._Run, "_command", lambda _self, _scratch: ["sh", "-c", script])
    found: list[Result] = []
    guests._Run(batch, False, {"loads": 1.0}).follow(found.append)
    assert (found[0].passed, found[0].failed) == (1, 0) and found[0].seconds < 70


def test_times_are_those_of_the_last_run_and_survive_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    path.write_text("{ not json")
    times = Times(path)
    assert times.of("unit", 9.0) == 9.0
    times.measured("unit", 4.2)
    times.save()
    assert Times(path).of("unit", 9.0) == 4.2


def test_progress_says_how_long_is_left() -> None:
    progress = Progress({"one": 60.0, "two": 120.0, "three": 60.0}, 2, guessed=False)
    assert progress.seconds_left({}) == 120.0
    progress.done("two")
    line = progress.line({"one": time.monotonic() - 20})
    assert "1 of 3 parts done" in line and "one (20 s)" in line and "last run's times" in line
    assert progress.seconds_left({"one": time.monotonic() - 20}) == pytest.approx(60, abs=1)


def test_the_slowest_tests_of_all_parts_are_named() -> None:
    took = "3.10s call     tests/vm/{0}/test_a.py::test_a\n{1}s setup    tests/vm/{0}/test_a.py::test_b[x y]\n"
    one = Result("vm:6.12", "vm 6.12 cli", 2, 0, 9.0, took.format("cli", "0.20"))
    two = Result("vm:7.2", "vm 7.2 bus", 2, 0, 9.0, took.format("bus", "12.00"))
    lines = table.slowest([one, two], 2)[1:]
    assert [line.split()[0] for line in lines] == ["12", "3"]
    assert lines[0].endswith("tests/vm/bus/test_a.py::test_b[x y]")


def test_what_was_red_is_said_again_at_the_end() -> None:
    green = Result("unit", "unit", 2, 0, 9.0, "2 passed in 1 s")
    one = Result(
        "unit", "agent", 1, 1, 9.0, "x\nFAILED tests/unit/a.py::test_a - assert 1\n1 failed"
    )
    hung = Result("vm:7.2", "vm 7.2 cli", 0, 1, 900.0, "dots\nin test_b\ntook longer than 800 s\n")
    lines = table.red([green, one, hung])
    assert lines[:2] == ["RED unit agent:", "  FAILED tests/unit/a.py::test_a - assert 1"]
    assert lines[2:] == [
        "RED vm:7.2 vm 7.2 cli:",
        "  dots",
        "  in test_b",
        "  took longer than 800 s",
    ]
    assert table.red([green]) == []
