# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors have one base class, and exit codes one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from scx_gamer.config.network import UnitError
from scx_gamer.config.settings import ConfigError
from scx_gamer.control import ControlError
from scx_gamer.dbus import BusError
from scx_gamer.input.monitor import InputError
from scx_gamer.libbpf import BpfError
from scx_gamer.netlimit import NetError
from scx_gamer.scheduler.topology import TopologyError
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.lock import InstanceError
from scx_gamer.system.paths import PathError
from scx_gamer.trace.asking import TraceError

PACKAGE = Path(__file__).parents[3] / "scx_gamer"


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (PathError("cannot make /run/x: Permission denied", 13, "run as root"),
         "cannot make /run/x: Permission denied: run as root", 77),
        (PathError("cannot make /run/x: File exists", 17, "run as root"),
         "cannot make /run/x: File exists: run as root", 1),
        (InstanceError("another supervisor holds /run/x", 11, "stop it"),
         "another supervisor holds /run/x: stop it", 77),
        (TopologyError("/x is missing"), "/x is missing", 1),
        (ConfigError("f:1", "bad", "mend it", 13), "f:1: bad; mend it", 78),
        (BpfError("load", 1), "load: Operation not permitted: run as root, or with CAP_BPF and CAP_PERFMON", 77),
        (BpfError("load", -22), "load: Invalid argument: this kernel rejected an argument", 1),
        (ControlError("refused", 2, 1, "ask"), "refused: ask", 2),
        (NetError("limited", 1), "limited", 77),
        (BusError("gone", name="x.y", hint="wait"), "gone; wait", 1),
        (InputError("open", 13, "run as root"), "open: EACCES; run as root", 77),
        (TraceError("no bcc", "install it", 69), "no bcc; install it", 69),
        (UnitError("fast", "write a rate"), "'fast': write a rate", 1),
    ],
)  # fmt: skip
def test_line_and_exit_code(error: ScxGamerError, line: str, code: int) -> None:
    assert (str(error), error.exit_code) == (line, code)


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                yield path, node


def test_only_the_base_keeps_what_and_hint() -> None:
    for path, node in classes():
        if node.name != "ScxGamerError":
            assert "self.hint = " not in ast.unparse(node), f"{path.name}: {node.name}"


def test_exit_codes_are_spelled_in_one_place() -> None:
    """Those that mean nothing else: 69, 70, 77 and 78 of sysexits.h."""
    for path in PACKAGE.rglob("*.py"):
        if path.name == "exit_codes.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign | ast.Return | ast.keyword):
                numbers = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
                assert not numbers & {69, 77, 78} or path.parent.name in ("libbpf", "input"), path
