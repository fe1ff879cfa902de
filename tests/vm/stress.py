# SPDX-License-Identifier: GPL-2.0-or-later
"""The load that sched_ext's own CI puts on every scheduler, and what it says it has done."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import running

_LOADS = ("cpu", "fork", "affinity")
_WANTED = {"--affinity-delay": ["1"], "--affinity-pin": []}
_END_S = 60


def _options() -> list[str]:
    """Those of `_WANTED` that this stress-ng has: older ones pin without being asked."""
    listed = subprocess.run(["stress-ng", "--help"], capture_output=True, text=True, check=False)
    found = [(name, values) for name, values in _WANTED.items() if name in listed.stdout]
    return [word for name, values in found for word in (name, *values)]


def worked(report: str) -> dict[str, int]:
    """Operations that each kind of load says it has done."""
    return {name: int(ops) for name, ops in re.findall(r"\] (\w+) +(\d+) +\d+\.\d+ ", report)}


@contextmanager
def stress(seconds: int, folder: Path) -> Iterator[None]:
    """For `seconds`, with `folder` to write in; at the end each kind of load must have done something."""
    cpus = str(os.cpu_count() or 1)
    command = ["stress-ng", "--aggressive", "-M", "-c", cpus, "-f", cpus, "--affinity", "1"]
    command += [*_options(), "--temp-path", str(folder), "--timeout", str(seconds)]
    with (
        (folder / "report").open("w") as report,
        running(command, cwd=folder, stdout=report, stderr=report) as load,
    ):
        yield
        load.wait(_END_S)
    said = (folder / "report").read_text()
    done = worked(said)
    # Its exit status is about its own complaints, an old fork that could not be had among them.
    assert all(done.get(name, 0) > 0 for name in _LOADS), said
