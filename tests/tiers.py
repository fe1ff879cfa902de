#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs the tiers of the tests and says how many tests each of them ran.

tests/tiers.py lint | unit | policy | fuzz | packages | vm:KERNEL | kernels …    A tier that ran no test has failed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
PYTHON = TREE / "build" / "venv" / "bin" / "python"
LONGEST_FOLDER_S = 900.0
MOST_AGAIN = 3
# Run by name only (`make test-vm TESTS=soak`), and why.
_LONG = "green on the newest kernel, four to twelve minutes of a guest each: CI's time is limited"
BY_NAME_ONLY = {
    "ownership": _LONG,
    "package": _LONG,
    "pages": _LONG,
    "pressure": _LONG,
    "soak": "a quarter of an hour for each seed",
    "sweep": "makes each kernel call of a life fail, one life a call",
    "wine": "1.1 GB of packages: tests/vm/wine/prepare",
}
# What does not depend on the kernel: CI runs these on the newest alone. By name they run on any.
# The folders of `trace` do, and were seen on the newest alone.
NEWEST_ONLY: frozenset[str] = frozenset(
    {
        "bus",
        "capabilities",
        "costs",
        "crowd",
        "diagnosis",
        "hostile",
        "loads",
        "prometheus",
        "promises",
        "systemd",
        "top",
        "trace",
        "tracepages",
        "traceprobes",
        "upgrade",
    }
)
# A game that one emulated CPU can carry: with more of them each is only a share of one.
# nettraffic: what waits for its turn in the emulator would look like a queue on the line.
GUEST_CPUS = {"games": 1, "netapart": 1, "netsettings": 1, "nettraffic": 1}

# Folders whose tests print figures, and how their lines begin: shown whether or not a test fails.
FIGURES = frozenset(
    {
        "costs",
        "crowd",
        "faults",
        "loads",
        "matrix",
        "outages",
        "package",
        "pressure",
        "prometheus",
        "promises",
        "soak",
        "upgrade",
    }
)
_FIGURE = re.compile(r"((?:MEASURED|VERIFIED) .*)")

# Guests in virtual time that this machine's speed and other guests do not change: figures are those of a real machine.
# wine: the distribution's older QEMU takes an `iret` in user mode for the kernel's, and Wine dies of it.
LOCKSTEP = frozenset({"costs", "crowd", "loads", "promises", "wine"})
_LOCKSTEP_QEMU = ("tests/vm/lockstep/build",)
# Guests that boot systemd. Where tests/vm runs on the machine itself, they still get one: they install and remove.
UNDER_SYSTEMD = frozenset({"capabilities", "systemd", "package", "pages", "upgrade"})
# In a root file system of a newer Debian, with that one's Python: our package depends on what it has.
IN_SUITE = dict.fromkeys(("package", "upgrade"), "trixie")
# A guest sees the tree read-only: each of its processes would compile each module anew, most of an emulated start.
_COMPILE = (str(PYTHON), "-m", "compileall", "-q", "scx_gamer", "tests")
# What the host makes before a folder's guest boots: it has the network and the compiler's speed.
PREPARED: dict[str, tuple[tuple[str, ...], ...]] = {
    **{
        name: (("make", "-s", "deb"), (str(PYTHON), "-m", "tests.vm.vmlib.root", suite))
        for name, suite in IN_SUITE.items()
    },
    **dict.fromkeys(LOCKSTEP, (_LOCKSTEP_QEMU,)),
    "wine": (_LOCKSTEP_QEMU, ("tests/vm/wine/prepare",)),
}


@dataclass(frozen=True)
class Result:
    """What one part of a tier did."""

    name: str
    passed: int
    failed: int
    seconds: float
    output: str


def run(name: str, command: list[str], *, count: Callable[[str, int], tuple[int, int]]) -> Result:
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    passed, failed = count(done.stdout, done.returncode)
    return Result(name, passed, failed, time.monotonic() - started, done.stdout)


def one_check(_output: str, status: int) -> tuple[int, int]:
    return (1, 0) if status == 0 else (0, 1)


def pytest_counts(output: str, status: int) -> tuple[int, int]:
    """Counts from pytest's closing line; a run that failed without a failed test counts as one."""
    counts = {
        word: int(n)
        for n, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", output[-400:])
    }
    failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    # A skipped test is a part that did not run: that is never fine here.
    failed += counts.get("skipped", 0)
    if status and not failed:
        failed = 1
    return counts.get("passed", 0), failed


def pytest(name: str, folder: str, *extra: str) -> Result:
    """A folder for each run: those side by side in one look through it while others of them clean up there."""
    with tempfile.TemporaryDirectory(prefix="t-") as root:
        command = [str(PYTHON), "-m", "pytest", "-q", f"--basetemp={root}/b", *extra, folder]
        return run(name, command, count=pytest_counts)


def lint() -> Iterator[Result]:
    venv = PYTHON.parent
    c_files = sorted(
        str(p.relative_to(TREE))
        for s in ("bpf/**/*.[ch]", "scx_gamer/**/*.[ch]", "tests/**/*.[ch]")
        for p in TREE.glob(s)
    )
    formatters = [
        f
        for v in ("", *(f"-{n}" for n in range(16, 25)))
        if (f := shutil.which(f"clang-format{v}"))
    ]
    scripts = sorted(
        str(p.relative_to(TREE))
        for p in [*TREE.glob("packaging/**/*"), *TREE.glob(".ci/*"), *TREE.glob("tests/vm/**/*")]
        if p.is_file() and p.open("rb").read(64).startswith((b"#!/usr/bin/env bash", b"#!/bin/sh", b"#!/bin/bash"))
    )  # fmt: skip
    commands = {
        "ruff check": [str(venv / "ruff"), "check", "."],
        "ruff format": [str(venv / "ruff"), "format", "--check", "."],
        "mypy": [str(PYTHON), "-m", "mypy"],
        "clang-format": [
            formatters[-1] if formatters else "clang-format",
            "--dry-run",
            "-Werror",
            *c_files,
        ],
        "shellcheck": ["shellcheck", "-S", "warning", *scripts],
        "regressions": [str(PYTHON), "tests/regressions.py"],
        "english": [str(PYTHON), "tests/english.py"],
    }
    for name, command in commands.items():
        try:
            yield run(name, command, count=one_check)
        except FileNotFoundError as err:
            yield Result(
                name, 0, 1, 0.0, f"{err.filename} is missing: run packaging/bootstrap test"
            )


def vm_folders(kernel: str) -> list[str]:
    chosen = os.environ.get("TESTS", "").split()
    folders = sorted({p.parent.name for p in (TREE / "tests" / "vm").glob("*/test_*.py")})
    unknown = set(chosen) - set(folders)
    if unknown:
        sys.exit(
            f"tests/vm has no folder {', '.join(sorted(unknown))}; there are {', '.join(folders)}"
        )
    left_out = BY_NAME_ONLY.keys() | (NEWEST_ONLY if kernel != "newest" else set())
    # The longest first, so that none of them is left alone at the end.
    longest = LOCKSTEP | UNDER_SYSTEMD
    return chosen or sorted(set(folders) - left_out, key=lambda name: (name not in longest, name))


def vm(kernel: str) -> Iterator[Result]:
    """Each folder in a guest of its own, as many side by side as there are CPUs."""
    direct = Path("/sys/kernel/sched_ext").is_dir() and os.geteuid() == 0 and kernel == "newest"
    boot = ["tests/vm/run", "--kernel", kernel, "--timeout", str(LONGEST_FOLDER_S)]

    def folder(name: str) -> Result:
        extra = ["--cpus", str(GUEST_CPUS[name])] if name in GUEST_CPUS else []
        if name in LOCKSTEP:
            extra.append("--lockstep")
        if name in UNDER_SYSTEMD:
            extra.append("--systemd")
        if name in IN_SUITE:
            extra += ["--suite", IN_SUITE[name]]
        command = [
            *([] if direct and name not in UNDER_SYSTEMD else [*boot, *extra, "--"]),
            "/usr/bin/python3" if name in IN_SUITE else str(PYTHON),
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--durations=12",
            *(["-s"] if name in FIGURES else []),
            f"tests/vm/{name}",
        ]
        return run(f"vm {kernel} {name}", command, count=pytest_counts)

    folders = [name for name in vm_folders(kernel) if not (direct and name in LOCKSTEP)]
    prepared = (_COMPILE, *(c for name in folders for c in PREPARED.get(name, ())))
    for command in dict.fromkeys(prepared):
        made = run(f"prepare {' '.join(command[-2:])}", list(command), count=one_check)
        if made.failed:
            yield made
            return
    jobs = 1 if direct else int(os.environ.get("JOBS", os.cpu_count() or 1))
    with ThreadPoolExecutor(jobs, thread_name_prefix="guest") as pool:
        results = pool.map(folder, vm_folders(kernel))
        yield from results if jobs == 1 else alone_again(results, folder)


def alone_again(results: Iterable[Result], again: Callable[[str], Result]) -> Iterator[Result]:
    """What failed beside other guests on an emulated machine runs once more by itself, and that counts; both are shown.
    Where more than MOST_AGAIN failed, it was not the company."""
    failed = []
    for result in results:
        if result.failed:
            failed.append(result)
        else:
            yield result
    for result in failed:
        if len(failed) > MOST_AGAIN:
            yield result
            continue
        print(f"{result.name}: {result.failed} failed beside other guests; once more, alone:")
        print("\n".join(f"| {line}" for line in result.output.splitlines()), flush=True)
        second = again(result.name.rpartition(" ")[2])
        yield replace(second, name=f"{result.name}, alone")


def fuzz() -> Iterator[Result]:
    """Each parser in a process of its own, as many side by side as there are CPUs."""
    names = sorted(path.name for path in (TREE / "tests/fuzz/corpus").iterdir())
    tests = [f"tests/fuzz/test_fuzz.py::test_whatever_comes[{name}]" for name in names]
    rest = ["tests/fuzz", "-k", "not whatever"]
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="fuzz") as pool:
        jobs = [[test] for test in tests] + [rest]
        yield from pool.map(
            lambda job: pytest(f"fuzz {job[0].rpartition('[')[2].rstrip(']')}", *job), jobs
        )


def kernels() -> Iterator[Result]:
    yield run("types of all kernels", [str(PYTHON), "-m", "tests.core_check"], count=one_check)
    for name in tomllib.loads((TREE / "tests/vm/kernels.toml").read_text())["kernel"]:
        yield from vm(name)


def tier(name: str) -> Iterator[Result]:
    if name.startswith("vm:"):
        return vm(name.removeprefix("vm:"))
    tiers: dict[str, Callable[[], Iterator[Result]]] = {
        "lint": lint,
        "unit": lambda: iter([pytest("unit", "tests/unit"), pytest("agent", "tests/agent")]),
        "policy": lambda: iter([pytest("policy", "tests/policy")]),
        "fuzz": fuzz,
        "packages": lambda: iter([pytest("packages", "tests/packages")]),
        "kernels": kernels,
    }
    if name not in tiers:
        sys.exit(f"no tier {name!r}; there are {', '.join(tiers)} and vm:KERNEL")
    return tiers[name]()


def main(wanted: list[str]) -> int:
    summary: list[str] = []
    total_passed = total_failed = 0
    for name in wanted:
        print(f"== {name}", flush=True)
        started, passed, failed = time.monotonic(), 0, 0
        for result in tier(name):
            verdict = "ok" if not result.failed else "FAILED"
            print(
                f"{result.name}: {result.passed} passed, {result.failed} failed ({result.seconds:.0f} s) {verdict}"
            )
            for figure in _FIGURE.findall(result.output):
                print(f"  {figure}")
            if result.failed or os.environ.get("VERBOSE"):
                print(result.output, flush=True)
            passed, failed = passed + result.passed, failed + result.failed
        if not passed and not failed:
            failed = 1
            print(f"{name}: this tier ran no test")
        summary.append(
            f"{name:<12} {passed} passed, {failed} failed  ({time.monotonic() - started:.0f} s)"
        )
        total_passed, total_failed = total_passed + passed, total_failed + failed
    print(
        "\n".join(["", *summary, "", f"{total_passed} passed, {total_failed} failed"]), flush=True
    )
    return 1 if total_failed else 0


if __name__ == "__main__":
    sys.exit(
        main(
            sys.argv[1:] or ["lint", "unit", "policy", "fuzz", "packages", "vm:oldest", "vm:newest"]
        )
    )
