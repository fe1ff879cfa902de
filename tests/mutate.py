#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts each known mistake back, in a copy of the tree, and expects its test to fail.

tests/mutate.py [unit | vm | NUMBER …]    All of them without an argument. One that survives is a test that cannot fail.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.regressions import TREE, Mutation, mutations

TEST_S = 240


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


def put_back(mutation: Mutation, folder: Path) -> str:
    """Make `folder` a tree with the mistake in it, built; what is wrong, or empty."""
    copy(folder)
    applied = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", "--unsafe-paths", f"--directory={folder}", str(mutation.path)],
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if applied.returncode:
        return f"the patch does not apply any more: {applied.stderr.strip()}"
    built = subprocess.run(
        ["make", "-s", "bpf"], cwd=folder, capture_output=True, text=True, check=False
    )
    if built.returncode:
        return f"does not compile: {built.stderr.strip()[-300:]}"
    # A guest would compile each module anew for each process of a test.
    compiled = ["build/venv/bin/python", "-m", "compileall", "-q", "scx_gamer", "tests"]
    subprocess.run(compiled, cwd=folder, check=True)
    return ""


def command(mutation: Mutation, folder: Path, said: Path) -> str:
    """For a shell: the test in that tree, its words and then its status beside them."""
    test = [
        "timeout", "-k", "10", str(TEST_S), "build/venv/bin/python", "-m", "pytest", "-q", "-x",
        "-p", "no:cacheprovider", mutation.test,
    ]  # fmt: skip
    return (
        f"cd {shlex.quote(str(folder))} && PYTHONPATH=$PWD {shlex.join(test)}"
        f' >"{said}.out" 2>&1 </dev/null; echo $? >"{said}.status"'
    )


def verdict(said: Path) -> str:
    """Empty when the test failed, as it should."""
    try:
        status = int(said.with_suffix(".status").read_text())
        text = said.with_suffix(".out").read_text(errors="replace")
    except (OSError, ValueError):
        return "no verdict: its machine ended before it"
    if status == 0:
        return "survived: the test is green with the mistake put in"
    if status != 1 or not re.search(r"\d (failed|error)", text[-400:]):
        return f"no verdict (status {status}): {text.strip()[-300:]}"
    return ""


def try_all(kernel: str, chosen: list[Mutation], base: Path) -> Iterator[tuple[Mutation, str]]:
    """Each in a tree of its own, one after the other on one machine: here, or in a guest with that kernel."""
    words = base / "said"
    words.mkdir()
    here = not kernel or Path("/sys/kernel/sched_ext").is_dir()
    ready, script = [], []
    for one in chosen:
        folder = base / one.path.stem
        folder.mkdir()
        if why := put_back(one, folder):
            yield one, why
            continue
        ready.append(one)
        said = words / one.path.stem if here else Path("$SCX_GAMER_SCRATCH", one.path.stem)
        script.append(command(one, folder, said))
    limit = (TEST_S + 20) * len(script) + 60
    guest = ["tests/vm/run", "--kernel", kernel, "--scratch", str(words), "--timeout", str(limit), "--"]  # fmt: skip
    subprocess.run(
        [*([] if here else guest), "sh", "-c", "\n".join(script)],
        cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        timeout=limit + 60, check=False,
    )  # fmt: skip
    for one in ready:
        yield one, verdict(words / one.path.stem)


def main(arguments: list[str]) -> int:
    chosen = [
        one for one in mutations()
        if not arguments or str(one.row) in arguments or ("vm" if one.kernel else "unit") in arguments
    ]  # fmt: skip
    if not chosen:
        print("no such mutation")
        return 2
    survived = 0
    (TREE / "build").mkdir(exist_ok=True)
    for kernel in sorted({one.kernel for one in chosen}):
        with tempfile.TemporaryDirectory(prefix="mutations-", dir=TREE / "build") as name:
            some = [one for one in chosen if one.kernel == kernel]
            for one, why in try_all(kernel, some, Path(name)):
                survived += bool(why)
                print(f"{one.row:>2} {one.path.name}: {why or 'caught by ' + one.test}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} mistakes caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
