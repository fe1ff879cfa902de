# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that a guest has in memory: all that a start of Python opens there."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.vm.vmlib import warm

# Runs a module as `python -m` does and says on stderr what has been opened, the interpreter's own start aside.
WATCHED = """
import os, runpy, sys
opened = set()
sys.addaudithook(lambda event, words: opened.add(str(words[0])) if event == "open" else None)
del sys.argv[0]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    os.write(2, "\\n".join(["", *opened]).encode())
"""


@pytest.fixture(scope="module")
def names() -> set[Path]:
    warm.compile_tree()
    return {Path(name) for name in warm.compile_tests()}


@pytest.mark.parametrize(
    "command",
    [
        "scx_gamer status",
        f"pytest -q {' '.join(warm.PLUGINS)} --co tests/vm/matrix",
    ],
    ids=["command", "tests"],
)
def test_a_start_opens_hardly_any_other_file(names: set[Path], command: str) -> None:
    done = subprocess.run(
        [warm.PYTHON, "-c", WATCHED, *command.split()],
        cwd=warm.TREE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    opened = {path for line in done.stderr.splitlines() if (path := Path(line)).is_file()}
    files = {file for file in opened if any(map(file.is_relative_to, warm.TOPS))}
    assert len(files) > 50
    assert len(files - names) < len(files) / 20, sorted(files - names)


def test_a_guest_boots_where_there_is_no_pytest(tmp_path: Path) -> None:
    """`make run` installs virtme-ng and nothing of the tests."""
    (tmp_path / "pytest.py").write_text("raise ImportError('No module named pytest')")
    command = [
        warm.PYTHON,
        "-c",
        "from tests.vm.vmlib import guest, warm; print(warm.compile_tests())",
    ]
    done = subprocess.run(
        command, cwd=warm.TREE, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_the_archive_has_each_file_as_it_is(names: set[Path], tmp_path: Path) -> None:
    """With its time, by which Python knows whether bytecode is of this source, and links as links."""
    some = [*sorted(names)[::100], next(name for name in names if name.is_symlink())]
    warm.pack([*map(str, some), str(tmp_path / "gone")], tmp_path)
    with tarfile.open(tmp_path / warm.ARCHIVE) as archive:
        archive.extractall(tmp_path / "out")
    for name in some:
        copy = tmp_path / "out" / name.relative_to("/")
        assert copy.is_symlink() == name.is_symlink()
        if not name.is_symlink():
            assert copy.read_bytes() == name.read_bytes()
            assert int(copy.stat().st_mtime) == int(name.stat().st_mtime)
