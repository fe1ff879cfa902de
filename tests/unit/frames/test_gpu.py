# SPDX-License-Identifier: GPL-2.0-or-later
"""The work of the GPU between two readings, and the machine that tells of none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from scx_gamer.frames.gpu import GpuMeter, GpuWork
from scx_gamer.frames.model import FrameError


def test_the_share_is_of_the_time_between_two_readings() -> None:
    first, second = GpuWork(1000, 2000, 100, 3), GpuWork(1000, 6000, 3100, 9)
    assert second.since(first) == GpuWork(2000, 6000, 3000, 6)
    assert second.since(first).busy == 0.75 and second.busy == 0.62
    assert first.since(first).busy == 0
    # a job ended between the two fields of a reading: the next one has its time
    assert GpuWork(0, 10, -1, 1).busy == 0 and GpuWork(0, 10, 11, 1).busy == 1


def test_nothing_is_loaded_where_no_driver_has_such_jobs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("scx_gamer.frames.gpu._SCHEDULER", tmp_path / "gpu_sched")
    with pytest.raises(FrameError, match="no driver uses the kernel's GPU scheduler"):
        GpuMeter(cast(Any, None))
