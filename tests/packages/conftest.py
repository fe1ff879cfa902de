# SPDX-License-Identifier: GPL-2.0-or-later
"""The work of a distribution's package builder: installation, packages, and their contents."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]


def run(
    *argv: str | Path, cwd: Path = TOP, timeout: float = 300, env: Mapping[str, str] | None = None
) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
        env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def make(*words: str) -> str:
    return run("make", "--no-print-directory", *words)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir() or p.is_symlink()}


@pytest.fixture(scope="session")
def generated() -> Path:
    make("generated")
    return TOP / "build/generated"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DESTDIR of an installation into /usr."""
    root = tmp_path_factory.mktemp("root")
    make("install", f"DESTDIR={root}", "PREFIX=/usr")
    return root


@pytest.fixture(scope="session")
def deb() -> Path:
    make("deb")
    (found,) = (TOP / "build/package").glob("scx-gamer_*.deb")
    return found
