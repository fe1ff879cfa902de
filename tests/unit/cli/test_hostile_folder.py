# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command, started in a folder whose files would take the place of our modules and Python's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from scx_gamer.bench import session
from scx_gamer.cli.app import build
from scx_gamer.system import child
from scx_gamer.trace import asking

TREE = Path(__file__).parents[3]
# Modules that a child imports early, and our own package.
NAMES = ("pathlib", "json", "subprocess", "signal", "ctypes", "typing", "bcc", "typer", "runpy")
PROGRAMS = ("journalctl", "modprobe", "insmod", "rmmod", "cc", "gcc", "python3", "ldconfig")
# A command's arguments where it needs some: values that keep it short.
ARGUMENTS: dict[str, list[str]] = {
    "bench": ["--pairs", "1", "--seconds", "0.5", "--loads", "none"],
    "exec": ["--", "/bin/true"],
    "explain": ["1"],
    "games add": ["1"],
    "games remove": ["1"],
    "profiles set": ["auto"],
    "profiles show": ["auto"],
    "setup": ["--dry-run"],
    "trace wakeups": ["1", "--seconds", "0.1"],
    "trace frames": ["1", "--seconds", "0.1"],
    "trace who-preempts": ["1", "--seconds", "0.1"],
    "trace input": ["--seconds", "0.1"],
}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Names of all commands, those of a group with the group's name before."""
    if not hasattr(command, "commands"):
        yield " ".join(path)
        return
    for name, one in command.commands.items():
        yield from commands(one, (*path, name))


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder of modules and programs that leave a mark where they are run; not the mark's folder itself."""
    folder = tmp_path / "trap"
    (folder / "scx_gamer").mkdir(parents=True)
    mark = f"open({str(tmp_path / 'mark')!r}, 'a').write(__file__ + '\\n')\nraise SystemExit(99)\n"
    for path in (folder / "scx_gamer/__init__.py", *(folder / f"{name}.py" for name in NAMES)):
        path.write_text(mark)
    for name in PROGRAMS:
        program = folder / name
        program.write_text(f"#!/bin/sh\necho $0 >>{tmp_path / 'mark'}\nexit 99\n")
        program.chmod(0o755)
    return folder


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    """The installed program, its package a link to the tree."""
    program = tmp_path / "prefix/bin/scx-gamer"
    program.parent.mkdir(parents=True)
    program.write_bytes((TREE / "packaging/scx-gamer").read_bytes())
    (tmp_path / "prefix/lib").mkdir()
    (tmp_path / "prefix/lib/scx-gamer").symlink_to(TREE)
    return program


def hostile_environment(trap: Path) -> dict[str, str]:
    own = {f"SCX_GAMER_{n}_DIR": str(trap.parent / n) for n in ("RUNTIME", "STATE", "CONFIG")}
    return {
        "PATH": f".:{trap}:{os.environ['PATH']}",
        "HOME": str(trap),
        "PYTHONPATH": str(trap),
        "PYTHONSTARTUP": str(trap / "json.py"),
        "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={trap}/no-bus",
        **own,
    }


@pytest.mark.parametrize("name", sorted(commands(typer.main.get_command(build()))))
def test_no_command_runs_code_of_its_folder(name: str, trap: Path, launcher: Path) -> None:
    argv = [sys.executable, "-I", str(launcher), *name.split(), *ARGUMENTS.get(name, [])]
    try:
        done = subprocess.run(
            argv, cwd=trap, env=hostile_environment(trap), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
    except subprocess.TimeoutExpired as err:  # the agent, which waits for a session
        assert name == "agent", name
        said = (err.stderr or b"").decode()
    mark = trap.parent / "mark"
    assert not mark.exists(), f"{mark.read_text()}{said}"
    assert "No module named" not in said and "Traceback" not in said


@pytest.mark.parametrize("how", ["bcc is looked for", "a child of trace", "a child of bench"])
def test_no_child_runs_code_of_its_folder(
    how: str, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start each child directly: on a kernel that lacks a feature, the commands above start none."""
    monkeypatch.chdir(trap)
    for name, value in hostile_environment(trap).items():
        monkeypatch.setenv(name, value)
    if how == "bcc is looked for":
        asking._has_bcc(sys.executable)
    elif how == "a child of bench":
        argv = [*session.CLI, "version"]
        done = subprocess.run(
            argv, env=child.environment(), capture_output=True, text=True, timeout=20, check=True
        )
        assert done.stdout.startswith("scx-gamer ")
    else:
        argv = [*child.python("scx_gamer.trace.child"), "{}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        assert "kind" in done.stderr  # the question lacks it: our code read it
    assert not (trap.parent / "mark").exists(), (trap.parent / "mark").read_text()


def test_every_start_of_a_program_says_where_and_with_which_environment() -> None:
    """Require a folder and an environment; the game of `exec` and the command of `bench` get the caller's own."""
    import ast

    found = []
    for path in sorted((TREE / "scx_gamer").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            if ast.unparse(node.func) in ("subprocess.run", "subprocess.Popen"):
                given = {word.arg for word in node.keywords}
                if not {"cwd", "env"} <= given:
                    found.append(f"{path.relative_to(TREE)}: {ast.unparse(node)}")
    assert [one.split(":")[0] for one in found] == ["scx_gamer/bench/pairs.py"], found
