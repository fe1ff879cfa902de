# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs that come or go between the reading of the topology and the attach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scx_gamer.observe.observer import Observer
from scx_gamer.scheduler import attached, counters, sysfs, topology
from scx_gamer.scheduler.errors import AttachFailed
from scx_gamer.scheduler.exits import Action, classify


class Map:
    """A map of a scheduler that counts what is done to it."""

    def __init__(self, links: list[str]) -> None:
        self._links = links

    @contextmanager
    def mapped(self, _struct: str) -> Iterator[list[Any]]:
        yield [None]

    def attach_struct_ops(self) -> SimpleNamespace:
        self._links.append("attached")
        return SimpleNamespace(close=lambda: self._links.append("closed"))


@pytest.mark.parametrize(
    ("counts", "loads", "done"),
    [
        ((7, 7, 7), 1, ["attached"]),
        ((7, 8, 8, 8, 8), 2, ["attached"]),  # amid the load: another, of the same generation
        ((7, 7, 8), 1, ["attached", "closed"]),  # after the attach
        ((1, 2, 3, 4, 5, 6), 3, []),  # all the time
    ],
)
def test_hotplug_amid_the_attach(
    counts: tuple[int, ...], loads: int, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    links: list[str] = []
    loaded = []
    names = ("exit_info", "sched_state", "cpu_stats", attached.OPS)
    obj = SimpleNamespace(maps=dict.fromkeys(names, Map(links)), btf=None)

    def load(*_: Any) -> Any:
        loaded.append(obj)
        return obj

    seen = iter(counts)
    monkeypatch.setattr(attached, "_cpus", lambda: next(seen))
    monkeypatch.setattr(counters, "fields_of", lambda *_: ())
    monkeypatch.setattr(attached.AttachedScheduler, "_loaded", staticmethod(load))
    observe = SimpleNamespace(abi={"CLASS_GAME": 2})
    generations = attached.Generations(cast("Observer", observe))
    monkeypatch.setattr(generations, "_add_ended", lambda _: None)
    if done == ["attached"]:
        assert generations.attach(3).generation == 3
    else:
        with pytest.raises(AttachFailed) as failed:
            generations.attach(3)
        record = failed.value.record
        assert record.generation == 3 and classify(record.kind, record.code) is Action.RESTART
    assert (len(loaded), links) == (loads, done) and not list(seen)


def test_a_cpu_that_goes_is_counted_and_then_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for hotplugs, online in ((4, (0, 1)), (5, (0, 1)), (5, (0,))):
        monkeypatch.setattr(sysfs, "hotplugs", lambda count=hotplugs: count)
        monkeypatch.setattr(topology, "online", lambda cpus=online: cpus)
        seen.append(attached._cpus())
    assert len(set(seen)) == 3
