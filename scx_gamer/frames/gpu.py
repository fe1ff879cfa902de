# SPDX-License-Identifier: GPL-2.0-or-later
"""The time in which the GPU was at work for the game, as the fences of its jobs tell."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from scx_gamer.frames.model import FrameError
from scx_gamer.libbpf import BpfError, attaching
from scx_gamer.observe.observer import Observer

_SCHEDULER = Path("/sys/module/gpu_sched")  # there too where it is built in: it has a parameter
_MAP = "gpu_work"
_SINCE = (1 << 56) - 1  # ONE_JOB - 1 of bpf/fences.bpf.c


class GpuWork(NamedTuple):
    """The work of the GPU for the game from `began_ns` to `at_ns`, of CLOCK_MONOTONIC."""

    began_ns: int
    at_ns: int
    busy_ns: int  # in which it had a job of the game, at least one
    jobs: int  # done

    @property
    def busy(self) -> float:
        """The share of the time in which it was at work; 0 without a time."""
        total_ns = self.at_ns - self.began_ns
        return min(1.0, max(0, self.busy_ns) / total_ns) if total_ns > 0 else 0.0

    def since(self, before: GpuWork) -> GpuWork:
        """Return the work after an earlier reading."""
        return GpuWork(
            before.at_ns, self.at_ns, self.busy_ns - before.busy_ns, self.jobs - before.jobs
        )


class GpuMeter:
    """The hooks on fences, from open to close."""

    def __init__(self, observe: Observer) -> None:
        """Load the hooks. Raises FrameError if they are unavailable, or would see nothing."""
        if not _SCHEDULER.is_dir():
            raise FrameError("no driver uses the kernel's GPU scheduler")
        try:
            with attaching("fences", observe.maps) as (obj, self._stack):
                self._work = self._stack.enter_context(obj.maps[_MAP].mapped("scxg_gpu_work"))[0]
        except BpfError as err:
            raise FrameError(f"the hooks on fences are unavailable: {err}") from err
        self._began_ns = time.monotonic_ns()

    def read(self) -> GpuWork:
        """Return the work since the hooks were loaded, that of jobs which run included."""
        busy_ns, running = self._work.get("busy_ns"), self._work.get("running")
        now_ns = time.monotonic_ns()
        if running:
            busy_ns += max(0, now_ns - (running & _SINCE))
        return GpuWork(self._began_ns, now_ns, busy_ns, self._work.get("jobs"))

    def close(self) -> None:
        """Unload the hooks. Idempotent."""
        self._stack.close()
