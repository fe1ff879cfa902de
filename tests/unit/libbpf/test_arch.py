# SPDX-License-Identifier: GPL-2.0-or-later
"""One object serves every architecture: it does not depend on the target's define."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clang import TREE, compile_bpf

SOURCES = sorted((TREE / "bpf").glob("*.bpf.c"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_object_is_the_same_for_each_architecture(source: Path, tmp_path: Path) -> None:
    ours = compile_bpf(source, tmp_path / "ours.o")  # as the Makefile: for none
    arm64 = compile_bpf(source, tmp_path / "arm64.o", "-D__TARGET_ARCH_arm64")
    assert ours.read_bytes() == arm64.read_bytes()
