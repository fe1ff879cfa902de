#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run tiers of the tests and say how many tests each of them ran.

tests/tiers.py test | all             what `make test` runs | what `make test-all` runs beside it
tests/tiers.py TIER …                 lint, unit, policy, fuzz, packages, vm:KERNEL, kernels; TESTS="cli bus" chooses
tests/tiers.py --table                which folder of tests/vm runs when, for tests/README.md

What is in which is in tests/tiers.toml. A tier that ran no test has failed.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.suite import guests, host, table
from tests.suite.jobs import SET_UP, Job, Result, Runner
from tests.suite.plan import Folder, Plan, PlanError, load
from tests.suite.progress import BusyCpus, Progress, Times
from tests.vm.vmlib import kernels

BEAT_S = 60.0
SLOWEST = 20
_FIGURE = re.compile(r"((?:MEASURED|VERIFIED) .*)")


def vm_jobs(plan: Plan, times: Times, kernel: str) -> Iterator[Job]:
    """The folders in TESTS, else those of `make test` on that kernel, else those of `make test-all`."""
    kernel = kernels.table().get(kernel, kernel)
    if kernel not in (*kernels.names(), *kernels.foreign()):
        raise PlanError(f"kernels.toml has no kernel {kernel!r}")
    chosen: Sequence[Folder] = plan.chosen(os.environ.get("TESTS", "").split())
    every = list(plan.folders.values())
    chosen = (
        chosen or [f for f in every if kernel in f.test] or [f for f in every if kernel in f.rest]
    )
    return guests.jobs(kernel, chosen, times)


def test_jobs(plan: Plan, times: Times) -> list[Job]:
    """Return the tiers of `make test`: those of the host first, so that a slip shows early, then the longest guests."""
    found: list[Job] = []
    for kernel in (kernels.table()["newest"], kernels.table()["oldest"]):
        folders = [f for f in plan.folders.values() if kernel in f.test]
        found += guests.jobs(kernel, folders, times)
    expected = estimates(plan, found, times)
    found.sort(key=lambda job: -sum(expected[part] for part in job.parts))
    tiers = host.tiers(plan, "test").values()
    jobs = [*(job for tier in tiers for job in tier), *found]
    # The parsers are short and steady: they fill up the CPUs beside what is alone, which comes after all others.
    return sorted(jobs, key=lambda job: job.tier == "fuzz")


def rest_jobs(plan: Plan, times: Times) -> list[Job]:
    """Return the tiers of `make test-all`: all that `make test` leaves out."""
    tiers = host.tiers(plan, "all")
    jobs = [*tiers["policy"], *tiers["fuzz"], *(host.extra(one) for one in plan.extras)]
    for kernel in (*reversed(kernels.names()), *kernels.foreign()):
        folders = [f for f in plan.folders.values() if kernel in f.rest]
        jobs += guests.jobs(kernel, folders, times)
    return jobs


def tier_jobs(plan: Plan, times: Times, name: str) -> list[Job]:
    if name == "test":
        return test_jobs(plan, times)
    if name == "all":
        return rest_jobs(plan, times)
    if name.startswith("vm:"):
        return list(vm_jobs(plan, times, name.removeprefix("vm:")))
    if name == "kernels":
        jobs = [host.extra(one) for one in plan.extras if one.name == "types"]
        os.environ.setdefault("TESTS", "matrix")
        return [*jobs, *(job for kernel in kernels.names() for job in vm_jobs(plan, times, kernel))]
    tiers = host.tiers(plan, "test")
    if name not in tiers:
        raise PlanError(f"no tier {name!r}; there are {', '.join(tiers)}, kernels and vm:KERNEL")
    return tiers[name]


def estimates(plan: Plan, jobs: Sequence[Job], times: Times) -> dict[str, float]:
    guess = dict(plan.host_s) | {one.name: one.seconds for one in plan.extras}
    found = {}
    for job in jobs:
        for part in job.parts:
            folder = plan.folders.get(part.rpartition(" ")[2])
            estimate = (
                folder.seconds if folder and part.startswith("vm ") else guess.get(part, 20.0)
            )
            found[part] = times.of(part, estimate)
    return found


def show(result: Result) -> None:
    verdict = "ok" if not result.failed else "FAILED"
    counts = f"{result.passed} passed, {result.failed} failed" if result.tier != SET_UP else "done"
    print(f"{result.name}: {counts} ({result.seconds:.0f} s) {verdict}")
    for figure in _FIGURE.findall(result.output):
        print(f"  {figure}")
    if result.failed or os.environ.get("VERBOSE"):
        print(result.output)
    sys.stdout.flush()


def run(plan: Plan, jobs: Sequence[Job], times: Times) -> list[Result]:
    """All results; they and the progress are printed as they come."""
    workers = int(os.environ.get("JOBS", os.cpu_count() or 1))
    expected = estimates(plan, jobs, times)
    guessed = any(part not in times.known for part in expected)
    progress = Progress(expected, workers, guessed)
    preparations = {name: times.of(name, s) for name, s in plan.host_s.items()}
    runner = Runner(jobs, workers, preparations)
    print(progress.line({}), flush=True)
    results = []
    try:
        for result in runner.results(BEAT_S):
            if result is None:
                print(progress.line(dict(runner.running)), flush=True)
                continue
            results.append(result)
            progress.done(result.name)
            if not result.failed:
                times.measured(result.name, result.seconds)
            if result.failed or result.tier != SET_UP or os.environ.get("VERBOSE"):
                show(result)
    except KeyboardInterrupt:
        runner.stop()
        raise
    finally:
        times.save()
    return results


def summary(jobs: Sequence[Job], results: Sequence[Result]) -> tuple[list[str], int, int]:
    """A line for each tier, and the sums. A failed preparation fails; what needed it says so too."""
    lines, passed, failed = [], 0, sum(r.failed for r in results if r.tier == SET_UP)
    for tier in dict.fromkeys(job.tier for job in jobs):
        own = [r for r in results if r.tier == tier]
        good, bad = sum(r.passed for r in own), sum(r.failed for r in own)
        if not good and not bad:
            bad = 1
            lines.append(f"{tier}: this tier ran no test")
        work = sum(r.seconds for r in own)
        lines.append(f"{tier:<12} {good} passed, {bad} failed  ({work:.0f} s of work)")
        passed, failed = passed + good, failed + bad
    return lines, passed, failed


def main(wanted: list[str]) -> int:
    if wanted == ["--table"]:
        print(table.markdown(load()))
        return 0
    began, busy = time.monotonic(), BusyCpus()
    try:
        plan, times = load(), Times()
        jobs = [job for name in wanted for job in tier_jobs(plan, times, name)]
    except PlanError as err:
        print(f"error: {err}", file=sys.stderr)
        return 2
    try:
        results = run(plan, jobs, times)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    lines, passed, failed = summary(jobs, results)
    if wanted == ["all"]:
        lines = [*table.what_ran(results), "", *lines]
    lines = [*table.slowest(results, SLOWEST), "", *lines]
    minutes = (time.monotonic() - began) / 60
    used = f"{minutes:.1f} min in all, on {os.cpu_count()} CPUs, {busy.percent():.0f} % busy"
    print("\n".join(["", *lines, used, *table.red(results)]))
    print(f"\n{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["test"]))
