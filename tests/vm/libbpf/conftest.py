# SPDX-License-Identifier: GPL-2.0-only
"""A program of the tests' own, compiled as ours are, to try the binding apart from the product."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scx_gamer.libbpf import Object

TREE = Path(__file__).parents[3]


def compiled(name: str, into: Path) -> Path:
    clang = next(
        path
        for v in (*(f"clang-{n}" for n in range(21, 15, -1)), "clang")
        if (path := shutil.which(v))
    )
    out = into / f"{name}.bpf.o"
    sysroot = TREE / "build/sysroot/usr/include"
    command = [clang, "-g", "-O2", "-target", "bpf", "-mcpu=v3", "-D__TARGET_ARCH_x86"]
    command += [
        "-I",
        str(TREE / "bpf/include"),
        *(["-I", str(sysroot)] if sysroot.exists() else []),
    ]
    source = Path(__file__).with_name(f"{name}.bpf.c")
    subprocess.run([*command, "-c", str(source), "-o", str(out)], check=True)
    return out


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("bpf")
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = compiled(name, folder)
        return made[name]

    return get


@pytest.fixture
def probe(build: Callable[[str], Path]) -> Iterator[Object]:
    with Object.open(build("probe")) as obj:
        obj.load()
        yield obj
