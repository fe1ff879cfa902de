# SPDX-License-Identifier: GPL-2.0-or-later
"""The stage of a comparison on a running game: the supervisor switches, tells the frames, and restores.

The supervisor holds the switch as a lease. Each read renews it, so that the end of this process, however it comes,
leaves the scheduler as it was.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from scx_gamer.compare.blocks import CompareError
from scx_gamer.control import ControlError
from scx_gamer.frames.model import Frame
from scx_gamer.system.closing import Closing
from scx_gamer.system.text import printable

Request = Callable[..., Any]  # of the supervisor, by operation and arguments; raises ControlError


class TrialFailedError(CompareError):
    """The scheduler ended with an error under `trial`, which holds no longer."""

    def __init__(self, trial: Mapping[str, int]) -> None:
        self.trial = trial
        named = ", ".join(f"{printable(name, 40)} = {value}" for name, value in trial.items())
        super().__init__(
            f"the scheduler failed while {named} was tried", hint="it is not tried again"
        )


class LiveStage(Closing):
    """A game that runs, from construction to close(). Raises ControlError and CompareError."""

    def __init__(self, request: Request, pid: int) -> None:
        self._request = request
        self._id = secrets.token_hex(16)
        self._side: dict[str, object] = {"paused": False}
        self._pair = 0
        self.source = ""
        self._hold(begin=True, pid=pid)

    @staticmethod
    def now_ns() -> int:
        return time.monotonic_ns()

    @staticmethod
    def wait(seconds: float) -> None:
        time.sleep(seconds)

    def switch(self, with_: bool, pair: int) -> None:
        self._side, self._pair = self._side_of(with_), pair
        self._hold()

    def _side_of(self, with_: bool) -> dict[str, object]:
        """Return the part of the request that tells a side."""
        return {"paused": not with_}

    def read(self) -> list[Frame] | None:
        before = self.source
        self.source, frames = self._hold()
        return frames if self.source == before else None

    def _hold(self, **more: object) -> tuple[str, list[Frame]]:
        """Renew the lease; return the source and its frames."""
        answer = self._request("compare", id=self._id, pair=self._pair, **self._side, **more)
        try:
            if failed := answer.get("failed"):
                raise TrialFailedError({str(name): int(value) for name, value in failed.items()})
            if answer.get("trial", {}) != self._side.get("trial", {}):
                raise ValueError  # a supervisor that knows no trials
            frames = [Frame(int(end_ns), int(took_ns)) for end_ns, took_ns in answer["frames"]]
            return str(answer["source"]), frames
        except (AttributeError, TypeError, KeyError, ValueError) as err:
            raise CompareError(
                "the supervisor's answer is not understood", hint="restart it after the upgrade"
            ) from err

    def close(self) -> None:
        """End the comparison; without a supervisor its lease ends by itself."""
        with suppress(ControlError):
            self._request("compare_end", id=self._id)


class TrialStage(LiveStage):
    """The same with a switch of tunables: `trial` holds on the side with, and nothing is detached. Root only."""

    trial: Mapping[str, int] = {}

    def _side_of(self, with_: bool) -> dict[str, object]:
        return {"paused": False, "trial": dict(self.trial) if with_ else {}}
