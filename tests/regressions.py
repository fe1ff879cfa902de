#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Known mistakes and the tests that catch them: tests/regressions.toml against the tests that exist.

tests/regressions.py          check: every row has tests that exist and a patch that puts the mistake back
tests/regressions.py --table  the same, printed
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
ROWS = 39


@dataclass(frozen=True)
class Row:
    """One mistake. `tests` are names as pytest takes them, without parameters."""

    number: int
    mistake: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Mutation:
    """A patch that puts the mistake of a row back, and the test that must then fail."""

    path: Path
    row: int
    test: str
    kernel: str  # a name of kernels.toml, empty for a test that needs none


def rows() -> list[Row]:
    data = tomllib.loads((TREE / "tests/regressions.toml").read_text())
    return [Row(entry["number"], entry["mistake"], tuple(entry["tests"])) for entry in data["row"]]


def mutations() -> list[Mutation]:
    found = []
    for path in sorted((TREE / "tests/mutations").glob("*.patch")):
        head = dict(re.findall(r"^(Row|Test|Kernel): (.+)$", path.read_text(), re.MULTILINE))
        found.append(Mutation(path, int(head["Row"]), head["Test"], head.get("Kernel", "")))
    return found


@cache
def _functions(path: Path) -> frozenset[str]:
    return frozenset(
        node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)
    )  # fmt: skip


def exists(test: str) -> bool:
    """Whether a test of this name is in the tree."""
    file, _, name = test.partition("::")
    path = TREE / file
    return path.is_file() and name.partition("[")[0] in _functions(path)


def applies(patch: Path) -> bool:
    done = subprocess.run(
        ["git", "apply", "--check", str(patch)], cwd=TREE, capture_output=True, check=False
    )
    return done.returncode == 0


def problems() -> list[str]:
    found = []
    table = {row.number: row for row in rows()}
    for number in range(1, ROWS + 1):
        row = table.get(number)
        if row is None or not row.tests:
            found.append(f"row {number} has no test")
            continue
        found += [f"row {number}: no test {test}" for test in row.tests if not exists(test)]
    patched = mutations()
    found += [
        f"row {number} has no patch in tests/mutations"
        for number in sorted(table)
        if not any(one.row == number for one in patched)
    ]
    for one in patched:
        row = table.get(one.row)
        if row is None or one.test.partition("[")[0] not in {
            t.partition("[")[0] for t in row.tests
        }:
            found.append(f"{one.path.name}: {one.test} is not a test of row {one.row}")
        if one.test.startswith("tests/vm/") != bool(one.kernel):
            found.append(f"{one.path.name}: a test in tests/vm, and only that, names a kernel")
        if not applies(one.path):
            found.append(
                f"{one.path.name} does not apply any more: put its mistake into the code as it is now"
            )
    return found


def main(arguments: list[str]) -> int:
    if "--table" in arguments:
        for row in rows():
            print(f"{row.number:>2}  {row.mistake}")
            for test in row.tests:
                print(f"      {test}")
    bad = problems()
    print("\n".join(bad) or f"{ROWS} mistakes, each with its test and its patch")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
