# SPDX-License-Identifier: GPL-2.0-or-later
"""The workload program, built with sanitizers, so that each run also checks its memory accesses."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def sanitized() -> Path:
    subprocess.run(
        ["make", "-s", "-f", "scx_gamer/bench/build.mk", "workload-sanitized"],
        cwd=ROOT,
        check=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
    )
    return ROOT / "build" / "bin" / "workload-sanitized"


@pytest.fixture
def program(sanitized: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCX_GAMER_WORKLOAD", str(sanitized))
    return sanitized
