# SPDX-License-Identifier: GPL-2.0-or-later
"""The synthetic game of `compare` with tunables, and sessions of tuning it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from scx_gamer.compare.blocks import Plan, TimeOverError
from scx_gamer.tune.course import Arm, Course, Tuner
from tests.unit.compare.synthetic import PLAN, SyntheticGame

DEFAULTS = {f"t{n}": 10 for n in range(12)}


class TunableGame(SyntheticGame):
    """Its frames are faster by the effects of the tunables in force."""

    trial: Mapping[str, int] = {}

    def __init__(
        self, seed: int, effects: Mapping[tuple[str, int], float], values: dict[str, int]
    ) -> None:
        super().__init__(seed, 0.0)
        self._effects, self._values = effects, values
        self._set(False)

    def _set(self, with_: bool) -> None:
        values = {**self._values, **(self.trial if with_ else {})}
        self._effect = sum(self._effects.get(item, 0.0) for item in values.items())

    def switch(self, with_: bool, pair: int) -> None:
        self.switches.append(with_)
        self._set(with_)


@dataclass
class Player:
    """A player who tunes a game session after session; the state goes from one to the next."""

    effects: Mapping[tuple[str, int], float]
    seed: int
    plan: Plan = PLAN
    course: Course = field(default_factory=lambda: Course("7.2", "build 1"))
    said: list[str] = field(default_factory=list)
    arms: Callable[[Mapping[str, int]], list[Arm]] = lambda values: [
        Arm(name, 5 if now == 10 else 10) for name, now in values.items()
    ]

    def play(self) -> None:
        """Play for one session, as long as the plan."""
        self.seed += 1
        values = DEFAULTS | {name: kept.value for name, kept in self.course.kept.items()}
        game = TunableGame(self.seed, self.effects, values)

        def save() -> None:
            values.update(DEFAULTS | {name: k.value for name, k in self.course.kept.items()})

        tuner = Tuner(
            self.course, game, self.plan, self.seed, values, self.arms, save, "2026-11-29", "1.0",
            self.said.append,
        )  # fmt: skip
        with suppress(TimeOverError):
            tuner.run()
