# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking `trace` about a process that does something known: bcc compiles in an emulated guest for half a minute a
question, so three folders share them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.processes import running
from tests.programs import built

TRACE = (sys.executable, "-m", "scx_gamer", "trace")
TRACING = Path("/sys/kernel/tracing")
EVENTS = pytest.mark.needs(str(TRACING / "events/sched/sched_switch"))
UPROBES = pytest.mark.needs(str(TRACING / "uprobe_events"))
KPROBES = pytest.mark.needs(str(TRACING / "kprobe_events"))


@pytest.fixture(scope="module")
def binary() -> Path:
    return built(Path(__file__).with_name("target.c"))


@contextmanager
def target(binary: Path, *args: str) -> Iterator[int]:
    with running([binary, "600", *args], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid


def trace(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TRACE, *args],
        capture_output=True, text=True, timeout=180, check=False, env={**os.environ, **(env or {})},
    )  # fmt: skip


def answer(*args: str, **env: str) -> dict[str, Any]:
    done = trace(*args, "--json", "--seconds", "3", env=env)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["schema"] == 1 and found["lost"] == 0
    return found


def groups(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {group["name"]: group for group in found["groups"]}
