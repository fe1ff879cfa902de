# SPDX-License-Identifier: GPL-2.0-or-later
"""Maxima of the last minute: seen at once, kept for one period more, then gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from scx_gamer.scheduler import attached, counters
from scx_gamer.service.maxima import PERIOD_S, RecentMaxima
from scx_gamer.system.loop import Loop


class View:
    """A struct of the kernel, by field."""

    def __init__(self, **fields: list[int]) -> None:
        self.fields = fields

    def get(self, path: str) -> int:
        return self.fields[path][0]

    def array(self, path: str) -> tuple[int, ...]:
        return tuple(self.fields[path])

    def set(self, path: str, value: int) -> None:
        name, _, index = path.partition("[")
        self.fields[name][int(index.rstrip("]") or 0)] = value


class Generations:
    """One attached scheduler on two CPUs, and the counters of the ended ones."""

    def __init__(self) -> None:
        self.cpus = [View(wait_max_ns=[0, 0]), View(wait_max_ns=[0, 0])]
        self.attached = SimpleNamespace(state=View(oldest_wait_recent_ns=[0]))

    def waits_max(self) -> list[int]:
        return counters.over_cpus(cast("Any", self.cpus), ("wait_max_ns",))["wait_max_ns"]

    def clear_maxima(self) -> None:
        counters.clear_maxima(cast("Any", self.cpus))
        self.attached.state.set("oldest_wait_recent_ns", 0)


def test_a_maximum_lasts_a_minute_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    control = View(class_delay_max_ns=[0], input_delay_max_ns=[0])
    generations, now = Generations(), [0]
    services: Any = SimpleNamespace(
        observe=SimpleNamespace(control=control), generations=generations
    )
    with Loop() as loop:
        monkeypatch.setattr(loop, "now_ns", lambda: now[0])
        maxima = RecentMaxima(services, loop)

        def period() -> dict[str, list[int]]:
            maxima.roll()
            now[0] += int(PERIOD_S * 1e9) // 2
            maxima.roll()  # not yet
            now[0] += int(PERIOD_S * 1e9) // 2
            found = maxima.values()
            del found["loop_lag"], found["loop_pass"]
            return found

        zero = {"exec_to_class": [0], "input_delay": [0], "oldest_wait": [0], "wait": [0, 0]}
        assert period() == zero
        generations.cpus[0].fields["wait_max_ns"] = [5, 1]
        generations.cpus[1].fields["wait_max_ns"] = [2, 7]
        generations.attached.state.set("oldest_wait_recent_ns", 8)
        control.set("class_delay_max_ns", 3)
        control.set("input_delay_max_ns", 4)
        full = {"exec_to_class": [3], "input_delay": [4], "oldest_wait": [8], "wait": [5, 7]}
        assert maxima.values().items() >= full.items()
        assert maxima.waits() == [5, 7]
        assert period() == full
        generations.cpus[0].fields["wait_max_ns"] = [6, 0]
        assert maxima.values()["wait"] == maxima.waits() == [6, 7]
        assert period() == zero | {"wait": [6, 0]}
        assert period() == zero


def test_waits_since_the_start_outlive_periods_and_schedulers() -> None:
    """The sum of all generations keeps its longest wait; the recent one is the ended scheduler's too, for a period."""

    class Attached:
        def __init__(self, wait_ns: int) -> None:
            self.wait_ns = wait_ns

        def waits_max(self) -> list[int]:
            return [self.wait_ns]

        def counters(self) -> dict[str, list[int]]:
            return {"runs": [1], "wait_max_ns": [self.wait_ns]}

        def costs(self) -> dict[str, list[int]]:
            return {}

        def clear_maxima(self) -> None:
            self.wait_ns = 0

    generations = attached.Generations(cast("Any", None))
    assert generations.waits_max() == []
    generations.clear_maxima()
    generations.attached = cast("Any", Attached(7))
    assert generations.waits_max() == [7]
    generations.clear_maxima()
    assert generations.waits_max() == [0]
    assert generations.counters()[0] == {"runs": [1], "wait_max_ns": [7]}
    first = generations.attached
    assert first is not None
    cast("Any", first).wait_ns = 3
    generations._add_ended(first)
    generations.attached = cast("Any", Attached(2))
    assert generations.waits_max() == [3]
    assert generations.counters()[0] == {"runs": [2], "wait_max_ns": [7]}
    generations.clear_maxima()
    assert generations.waits_max() == [0]
    assert generations.counters()[0]["wait_max_ns"] == [7]


def test_the_loop_keeps_both_maxima() -> None:
    with Loop() as loop:
        loop.call_later(0.001, loop.stop, name="end")
        loop.run()
        before = loop.stats()
        assert before.lag_recent_ns == before.lag_max_ns > 0
        assert before.pass_recent_ns == before.pass_max_ns > 0
        loop.clear_recent()
        after = loop.stats()
        assert (after.lag_recent_ns, after.pass_recent_ns) == (0, 0)
        assert (after.lag_max_ns, after.pass_max_ns) == (before.lag_max_ns, before.pass_max_ns)
