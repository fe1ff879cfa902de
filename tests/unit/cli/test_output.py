# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command in any locale, into a pipe that nobody reads, and onto a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_docs import commands

TOP = Path(__file__).resolve().parents[3]
# Words that a command needs to do something; all others run as they are, against no supervisor.
WORDS = {
    "exec": "-- true",
    "profiles show": "gaming",
    "profiles diff": "gaming lowlatency",
    "profiles set": "gaming",
    "games add": "1234",
    "games remove": "1234",
    "games explain": "1234",
    "net limit": "1234",
    "net list": "--seconds 0.2",
    "leakcheck": "--cycles 1",
    "trace frames": "1234",
    "report": "--list",
    "setup": "--dry-run",
    "bench": "compare /absent/a.csv /absent/b.csv",
}
# Forks one process for each line: it has the stdout that is asked for, and ends as the program does. A help page loads
# what typer needs for its first command, which would take each process longer than the command itself.
PROGRAM = """
import contextlib, io, os, sys
from scx_gamer.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    main(["games", "--help"])
how, folder, *lines = sys.argv[1:]
for number, line in enumerate(lines):
    child = os.fork()
    if child == 0:
        os.dup2(os.open(f"{folder}/{number}", os.O_WRONLY | os.O_CREAT, 0o600), 2)
        reader, writer = os.pipe()
        if how != "a closed pipe":
            writer = os.open("/dev/full" if how == "a full disk" else "/dev/null", os.O_WRONLY)
        os.dup2(writer, 1)
        os.close(writer)
        os.close(reader)
        encoding = "ascii" if how == "ascii" else "utf-8"
        sys.stdout = io.TextIOWrapper(open(1, "wb"), encoding)
        if how == "no stdout":
            sys.stdout.detach().detach().close()
            sys.stdout = None
        sys.exit(main(line.split()))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def lines(how: str) -> list[str]:
    """Each command at work, and where typer writes differently, for help."""
    found = sorted(f"{name} {WORDS.get(name, '')}" for name in commands())
    return found + ["run --help", "games add --help"] * (how != "ascii")


@pytest.mark.parametrize("how", ["ascii", "a closed pipe", "a full disk", "no stdout"])
def test_every_command_ends_with_at_most_a_line(how: str, tmp_path: Path) -> None:
    environment = {**os.environ}
    for name in ("RUNTIME", "STATE", "CONFIG"):
        environment[f"SCX_GAMER_{name}_DIR"] = str(tmp_path / name)
    (tmp_path / "CONFIG").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, tmp_path, *lines(how)],
        cwd=TOP, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=250, check=True,
    )  # fmt: skip
    codes = [int(code) for code in done.stdout.split()]
    for number, (line, code) in enumerate(zip(lines(how), codes, strict=True)):
        err = (tmp_path / str(number)).read_text()
        said = f"{line}: {code}\n{err}"
        assert "Traceback" not in err and "Exception ignored" not in err, said
        assert code not in (70, 120), said
        if how == "a full disk" and line.endswith("--help"):
            assert code == 1 and "cannot write the output: No space" in err, said
        if how == "a closed pipe" and line.endswith("--help"):
            assert (code, err) == (0, ""), said
