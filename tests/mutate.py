#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Puts each known mistake back, in a copy of the tree, and expects its test to fail.

tests/mutate.py [unit | vm | NUMBER …]    All of them without an argument. One that survives is a test that cannot fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.regressions import TREE, Mutation, mutations

TIMEOUT_S = 600


def copy(into: Path) -> None:
    """The tracked files as they are now, and what was built for them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TREE, check=True, capture_output=True)
    for path in filter(None, os.fsdecode(listed.stdout).split("\0")):
        source = TREE / path
        if source.exists():
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    (into / "build").mkdir()
    for name in ("venv", "sysroot", "bin"):
        if (TREE / "build" / name).exists():
            (into / "build" / name).symlink_to(TREE / "build" / name)
    shutil.copytree(TREE / "build/bpf", into / "build/bpf")


def try_one(mutation: Mutation, folder: Path) -> str:
    """Empty when the test caught it, else what happened."""
    applied = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", "--unsafe-paths", f"--directory={folder}", str(mutation.path)],
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if applied.returncode:
        return f"the patch does not apply any more: {applied.stderr.strip()}"
    try:
        built = subprocess.run(
            ["make", "-s", "bpf"], cwd=folder, capture_output=True, text=True, check=False
        )
        if built.returncode:
            return f"does not compile: {built.stderr.strip()[-300:]}"
        done = subprocess.run(
            command(mutation), cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no verdict within {TIMEOUT_S} s"
    finally:
        subprocess.run(
            ["git", "apply", "-R", "--unsafe-paths", f"--directory={folder}", str(mutation.path)],
            cwd="/", check=True, capture_output=True,
        )  # fmt: skip
    if done.returncode == 0:
        return "survived: the test is green with the mistake put in"
    if done.returncode != 1 or "failed" not in done.stdout[-400:]:
        return f"no verdict (status {done.returncode}): {done.stdout.strip()[-300:]}"
    return ""


def command(mutation: Mutation) -> list[str]:
    python = [
        "build/venv/bin/python",
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        mutation.test,
    ]
    if not mutation.kernel or Path("/sys/kernel/sched_ext").is_dir():
        return python
    guest = ["tests/vm/run", "--kernel", mutation.kernel, "--timeout", str(TIMEOUT_S - 60), "--"]
    return [*guest, *python]


def main(arguments: list[str]) -> int:
    chosen = [
        one for one in mutations()
        if not arguments or str(one.row) in arguments or ("vm" if one.kernel else "unit") in arguments
    ]  # fmt: skip
    if not chosen:
        print("no such mutation")
        return 2
    survived = 0
    base = TREE / "build"
    base.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutations-", dir=base) as name:
        folder = Path(name)
        copy(folder)
        for one in chosen:
            why = try_one(one, folder)
            survived += bool(why)
            print(f"{one.row:>2} {one.path.name}: {why or 'caught by ' + one.test}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} mistakes caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
