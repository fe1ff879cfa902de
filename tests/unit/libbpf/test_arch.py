# SPDX-License-Identifier: GPL-2.0-or-later
"""Shared structs are the same on every architecture: the objects' types do not depend on the target's define."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scx_gamer.libbpf import BpfError, object_btf
from tests.clang import TREE, compile_bpf


def built(source: str, arch: str, into: Path) -> Path:
    return compile_bpf(TREE / f"bpf/{source}.bpf.c", into / f"{source}-{arch}.o", arch)


@pytest.mark.parametrize("source", ["observe", "sched", "netlimit"])
def test_types_are_those_of_either_architecture(source: str, tmp_path: Path) -> None:
    x86, arm = (object_btf(built(source, arch, tmp_path)) for arch in ("x86", "arm64"))
    names = set(
        re.findall(r"^struct (scxg_\w+) \{", (TREE / "bpf/include/abi.h").read_text(), re.M)
    )
    compared = 0
    for name in sorted(names):
        try:
            ours = x86.struct(name)
        except BpfError:  # not in this object
            continue
        theirs = arm.struct(name)
        assert ours.size == theirs.size
        assert {f.name: f.offset for f in ours.fields.values()} == {
            f.name: f.offset for f in theirs.fields.values()
        }
        compared += 1
    assert compared >= 1
    assert x86.enums() == arm.enums()
