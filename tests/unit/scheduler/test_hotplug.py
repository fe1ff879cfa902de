# SPDX-License-Identifier: GPL-2.0-or-later
"""A CPU that comes or goes between the reading of the topology and the attach."""

from __future__ import annotations

from typing import Any, cast

import pytest

from scx_gamer.observe.observer import Observer
from scx_gamer.scheduler import attached, sysfs
from scx_gamer.scheduler.errors import AttachFailed
from scx_gamer.scheduler.exits import Action, classify


@pytest.mark.parametrize("counts", [(7, 7), (7, 8)])
def test_hotplug_amid_the_attach_is_a_restart(
    counts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    class Scheduler:
        def __init__(self, *_: Any) -> None: ...

        def close(self) -> None:
            closed.append(self)

    seen = iter(counts)
    monkeypatch.setattr(sysfs, "hotplugs", lambda: next(seen))
    monkeypatch.setattr(attached, "AttachedScheduler", Scheduler)
    generations = attached.Generations(cast("Observer", None))
    if counts[0] == counts[1]:
        generations.attach(3)
        assert not closed
        return
    with pytest.raises(AttachFailed) as failed:
        generations.attach(3)
    record = failed.value.record
    assert closed and record.generation == 3
    assert classify(record.kind, record.code) is Action.RESTART
