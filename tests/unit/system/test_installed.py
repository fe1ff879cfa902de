# SPDX-License-Identifier: GPL-2.0-or-later
"""An installed build: no variable of the tests names a file that it loads or runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[3]
HOOKS = ("SCHED_OBJECT", "SCHED_RODATA", "LIBBPF", "WORKLOAD")
PROGRAM = """
from scx_gamer.libbpf import _native
from scx_gamer.scheduler.attached import _test_build
from scx_gamer.system.paths import checkout_variable
from scx_gamer.bench.workload import BenchError, find_workload
try:
    workload = str(find_workload())
except BenchError as err:
    workload = err.what
print(_test_build(), _native._candidates(), workload, checkout_variable("SCX_GAMER_LIBBPF"))
"""


@pytest.mark.parametrize("installed", [True, False])
def test_hooks_of_tests_work_in_a_checkout_alone(installed: bool, tmp_path: Path) -> None:
    folder = TREE
    if installed:
        folder = tmp_path
        (folder / "scx_gamer").symlink_to(TREE / "scx_gamer")
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n{PROGRAM}"
    if installed:  # as it would be without the link
        program = f"import pathlib; pathlib.Path.resolve = pathlib.Path.absolute\n{program}"
    env = {f"SCX_GAMER_{name}": "/bin/true" for name in HOOKS}
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], env={**os.environ, **env},
        capture_output=True, text=True, check=True, timeout=60, cwd="/",
    )  # fmt: skip
    assert ("/bin/true" in done.stdout) is not installed, done.stdout


def test_no_other_variable_names_a_file_to_load() -> None:
    """The package reads variables for the daemon's folders, and the tests' through `checkout_variable`."""
    found = set()
    for path in (TREE / "scx_gamer").rglob("*.py"):
        found |= set(re.findall(r"SCX_GAMER_(\w*[A-Z])", path.read_text()))
    folders = {"RUNTIME_DIR", "STATE_DIR", "CONFIG_DIR", "DESKTOP_DIRS"}
    assert found - set(HOOKS) - folders <= {"DEBUG", "LOCKSTEP"}, found
