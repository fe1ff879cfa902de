# SPDX-License-Identifier: GPL-2.0-or-later
"""Tiers that need no guest: lint, unit, policy, fuzz, packages, and the extras of `make test-all`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator

from tests.suite.jobs import (
    PYTHON,
    TREE,
    Emit,
    Job,
    check,
    execute,
    one_check,
    pytest,
    pytest_counts,
)
from tests.suite.plan import Extra, Plan

_SEED = "SCX_GAMER_FUZZ_SEED"
_BASH = (b"#!/usr/bin/env bash", b"#!/bin/sh", b"#!/bin/bash")


def _c_files() -> list[str]:
    return sorted(
        str(path.relative_to(TREE))
        for folder in ("bpf", "scx_gamer", "tests")
        for path in (TREE / folder).rglob("*.[ch]")
    )


def _scripts() -> list[str]:
    paths = [*TREE.glob("packaging/**/*"), *TREE.glob(".ci/*"), *TREE.glob("tests/vm/**/*")]
    return sorted(
        str(path.relative_to(TREE))
        for path in paths
        if path.is_file() and path.open("rb").read(64).startswith(_BASH)
    )


def _newest_clang_format() -> str:
    names = ("clang-format", *(f"clang-format-{version}" for version in range(16, 25)))
    return next((name for name in reversed(names) if shutil.which(name)), names[0])


def lint() -> Iterator[Job]:
    commands = {
        "mypy": [PYTHON, "-m", "mypy"],
        "ruff check": ["build/venv/bin/ruff", "check", "."],
        "ruff format": ["build/venv/bin/ruff", "format", "--check", "."],
        "clang-format": [_newest_clang_format(), "--dry-run", "-Werror", *_c_files()],
        "shellcheck": ["shellcheck", "-S", "warning", *_scripts()],
        "regressions": [PYTHON, "tests/regressions.py"],
        "english": [str(PYTHON), "tests/english.py"],
        "licences": ["build/venv/bin/reuse", "lint", "--lines"],
    }
    for name, command in commands.items():
        yield check("lint", name, command)


def unit(env: dict[str, str]) -> Iterator[Job]:
    yield pytest("unit", "unit", "tests/unit", *_draws(env))
    yield pytest("unit", "agent", "tests/agent", *_draws(env))


def _draws(env: dict[str, str]) -> list[str]:
    """Have Hypothesis draw from the fuzzers' seed, if there is one."""
    return [f"--hypothesis-seed={env[_SEED]}"] if _SEED in env else []


def _tree_seed() -> dict[str, str]:
    """A seed of the fuzzers that each commit draws anew and a second run of it repeats; none without git."""
    if given := os.environ.get(_SEED):
        return {_SEED: given}
    done = subprocess.run(
        ["git", "rev-parse", "HEAD:"], cwd=TREE, capture_output=True, text=True, check=False
    )
    return {} if done.returncode else {_SEED: str(int(done.stdout[:8], 16))}


def policy(env: dict[str, str]) -> Iterator[Job]:
    yield pytest("policy", "policy", "tests/policy", *_draws(env), env=env)


def fuzz(env: dict[str, str]) -> Iterator[Job]:
    """As many parsers in a process as take twenty seconds: its start takes longer than half of a short run."""
    names = sorted(path.name for path in (TREE / "tests/fuzz/corpus").iterdir())
    size = max(1, 20 // int(env["SCX_GAMER_FUZZ_S"]))
    for group in (names[at : at + size] for at in range(0, len(names), size)):
        tests = (f"tests/fuzz/test_fuzz.py::test_whatever_comes[{name}]" for name in group)
        part = " to ".join(dict.fromkeys((group[0], group[-1])))
        yield pytest("fuzz", f"fuzz {part}", *tests, env=env, steady=True)
    yield pytest("fuzz", "fuzz itself", "tests/fuzz", "-k", "not whatever", env=env, steady=True)


def packages() -> Iterator[Job]:
    yield pytest("packages", "packages", "tests/packages")


def extra(one: Extra) -> Job:
    """Counts of pytest where the command ends with them; else the command is one check."""

    def count(output: str, status: int) -> tuple[int, int]:
        counted = pytest_counts(output, status)
        return counted if counted[0] else one_check(output, status)

    def run(emit: Emit) -> None:
        emit(execute(one.name, one.name, shlex.split(one.command), count))

    return Job(one.name, (one.name,), run)


def tiers(plan: Plan, level: str) -> dict[str, list[Job]]:
    """Jobs by tier; `level` says how long to fuzz, and whether from a seed of the tree or from any."""
    env = {"SCX_GAMER_FUZZ_S": str(plan.fuzz_s[level])} | (_tree_seed() if level == "test" else {})
    return {
        "lint": list(lint()),
        "unit": list(unit(env)),
        "policy": list(policy(env)),
        "fuzz": list(fuzz(env)),
        "packages": list(packages()),
    }
