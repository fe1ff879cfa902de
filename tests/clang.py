# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiler that tests use, and objects compiled by it as ours are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

TREE = Path(__file__).parents[1]


def clang() -> str:
    for name in (*(f"clang-{v}" for v in range(21, 15, -1)), "clang"):
        path = shutil.which(name)
        if path:
            return path
    raise RuntimeError("no clang: run `make test`, which installs it")


def compile_bpf(source: Path, out: Path, *options: str) -> Path:
    """`out`, compiled with clang's `options` besides those of ours. Raises CalledProcessError."""
    sysroot = TREE / "build/sysroot/usr/include"
    includes = [TREE / "bpf/include", *([sysroot] if sysroot.exists() else [])]
    flags = ["-g", "-O2", "-target", "bpf", "-mcpu=v3", *options]
    flags += [word for folder in includes for word in ("-I", str(folder))]
    subprocess.run([clang(), *flags, "-c", str(source), "-o", str(out)], check=True)
    return out
