# SPDX-License-Identifier: GPL-2.0-or-later
"""A comparison that a client runs on a game: its switch, as a lease, and the game's frames.

The client renews the lease with each request. When it does not, whatever became of it, the scheduler is as before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from scx_gamer.control import ControlError, LimitError
from scx_gamer.control.server import pid_of
from scx_gamer.profiles import ProfileError
from scx_gamer.scheduler.machine import Cancel, Clock, Machine, State
from scx_gamer.system.budget import Budget
from scx_gamer.system.exit_codes import FAILED, NO_PERMISSION, USAGE
from scx_gamer.system.loop import NO_TIMER

if TYPE_CHECKING:
    from scx_gamer.control.snapshot import ComparisonFacts
    from scx_gamer.frames.model import Frame

log = logging.getLogger(__name__)

LEASE_S = 15.0  # beside hogs and without a scheduler for games, a client may get no CPU for seconds
MAX_FRAMES = 20_000  # kept for a client: some seconds of any game
_MAX_ID = 64
# The watchdog of bpf/sched.bpf.c ends the scheduler 30 s after a task became runnable and did not run. The kernel looks
# each half of that time.
BLAME_S = 45.0
_NO_TRIAL: tuple[str, dict[str, int], int] = ("", {}, 0)
# Of one user: each costs a detach, an attach and the time of both.
_PAUSES_PER_S, _PAUSES = 0.2, 4.0


class FrameFeed(Protocol):
    """The frames of the running game."""

    @property
    def source(self) -> object | None:
        """The source in use, None while there is none."""

    @property
    def why(self) -> Mapping[str, str]:
        """The reason against each source that is not used."""

    def subscribe(self, callback: Callable[[str, list[Frame]], None]) -> Callable[[], None]:
        """Call `callback` with the name of the source and new frames, until the returned function is called."""
        ...


class Comparison:
    """At most one comparison at a time. A pause survives neither the lease nor the supervisor."""

    def __init__(
        self,
        clock: Clock,
        machine: Machine,
        feed: Callable[[], FrameFeed | None],
        games: Callable[[], Sequence[Mapping[str, object]]],
        owners: Callable[[], Iterable[int]],
        mode: Callable[[], str],
        try_out: Callable[[Mapping[str, object]], dict[str, int]],
    ) -> None:
        """`games`: rows with `pid`; `owners`: the users of all games; `mode`: auto or always.

        `try_out` puts tunables in force before the profile's, an empty mapping none, and returns them; it may raise
        ProfileError.
        """
        self._clock, self._machine = clock, machine
        self._feed, self._games, self._owners, self._mode = feed, games, owners, mode
        self._try_out = try_out
        self._trial: dict[str, int] = {}
        # Client and tunables of the last trial, and its end in ns; client and tunables of the last one with an error.
        self._tried: tuple[str, dict[str, int], int] = _NO_TRIAL
        self._failed: tuple[str, dict[str, int]] = ("", {})
        self._id = ""  # of the client; empty while none compares
        self._pid = 0
        self._paused = False
        self._pair = 0
        self._budget = Budget(_PAUSES_PER_S, _PAUSES, clock.now_ns)
        self._left_as: tuple[object, ...] = ()  # the machine, after the last request
        self._began_ns = 0
        self._timer: Cancel = NO_TIMER
        self._unsubscribe: Callable[[], None] = _nothing
        self._source = ""
        self._frames: list[Frame] = []

    def facts(self) -> ComparisonFacts | None:
        """Return the running comparison as the status shows it."""
        if not self._id:
            return None
        return {
            "pid": self._pid,
            "side": "without" if self._paused else "with",
            "trial": dict(self._trial),
            "pair": self._pair,
            "since_s": round((self._clock.now_ns() - self._began_ns) / 1e9, 3),
        }

    def hold(self, request: Mapping[str, Any], uid: int) -> dict[str, object]:
        """Begin or go on: switch to the side, renew the lease, hand over the frames. Raises ControlError."""
        name, begin, paused, pair, trial = _read(request)
        if trial and uid:
            raise ControlError("only root may try out settings", NO_PERMISSION)
        if name == self._failed[0]:
            return {"failed": dict(self._failed[1])}
        if begin:
            self._begin(name, pid_of(request), uid)
        elif name != self._id:
            raise ControlError(
                "the comparison has ended, because its client was not heard of", FAILED
            )
        elif why := self._no_subject(self._pid):
            self._fail(why)
        elif self._seen() != self._left_as:
            self._fail(f"the scheduler is {self._machine.state} meanwhile: {self._machine.cause}")
        self._pair = pair
        if paused and not self._paused and uid and not self._budget.take(uid):
            self.end("the comparison ended: too many pauses")
            raise LimitError("more pauses than one in five seconds")
        if paused:
            self._machine.pause("a comparison measures without it")
        else:
            self._machine.resume("a comparison measures with it")
        self._paused = paused
        self._try(trial)
        self._left_as = self._seen()
        wanted = State.PAUSED if paused else State.ATTACHED
        if self._machine.state is not wanted:
            self._fail(self._other_state())
        self._renew()
        frames, self._frames = self._frames, []
        return {
            "state": str(self._machine.state),
            "lease_s": LEASE_S,
            "trial": dict(self._trial),
            "source": self._source,
            "frames": [list(frame) for frame in frames],
        }

    def release(self, request: Mapping[str, Any], _uid: int) -> dict[str, object]:
        """End the client's comparison. Harmless after its end."""
        if self._id and request.get("id") == self._id:
            self.end("the comparison has ended")
        return {"state": str(self._machine.state)}

    def end(self, cause: str) -> None:
        """End what runs; the scheduler is as before."""
        if self._id:
            log.info("%s", cause)
            self.close()
            self._machine.resume(cause)

    def scheduler_failed(self) -> bool:
        """Return True if an error of the scheduler, which has just ended it, is that of a trial; nothing runs then."""
        self._try({})
        (client, trial, ended_ns), self._tried = self._tried, _NO_TRIAL
        if not trial or self._clock.now_ns() - ended_ns > BLAME_S * 1e9:
            return False
        log.error("the scheduler failed under a trial, which ends: %s", trial)
        self._failed = client, trial
        self.close()
        return True

    def close(self) -> None:
        """Forget what runs, and leave the scheduler alone."""
        self._try({})
        self._id, self._frames, self._source, self._paused = "", [], "", False
        self._timer.cancel()
        unsubscribe, self._unsubscribe = self._unsubscribe, _nothing
        unsubscribe()

    def _begin(self, name: str, pid: int, uid: int) -> None:
        if self._id:
            raise ControlError("a comparison runs already: see `scx-gamer status`", FAILED)
        if why := self._no_subject(pid):
            raise ControlError(why, FAILED)
        if uid and set(self._owners()) != {uid}:
            raise ControlError(
                "a game of another user runs: only root may compare then", NO_PERMISSION
            )
        if uid and self._mode() == "always":
            raise ControlError(
                "in mode always, the scheduler serves others too: only root may compare",
                NO_PERMISSION,
            )
        if self._machine.state is not State.ATTACHED:
            raise ControlError(self._other_state(), FAILED)
        feed = self._feed()
        if feed is None or feed.source is None:
            reasons = "".join(
                f"; {name}: {why}" for name, why in (feed.why if feed else {}).items()
            )
            raise ControlError(f"no source tells the frames of this game{reasons}", FAILED)
        log.info("a comparison begins on game %d", pid)
        self._unsubscribe = feed.subscribe(self._on_frames)
        self._id, self._pid, self._began_ns = name, pid, self._clock.now_ns()

    def _seen(self) -> tuple[object, ...]:
        return self._machine.state, self._machine.cause, self._machine.since_ns

    def _other_state(self) -> str:
        return f"the scheduler is {self._machine.state}: {self._machine.cause}"

    def _no_subject(self, pid: int) -> str:
        """Return why this game cannot be compared; empty if it runs and no other does."""
        running = {row["pid"] for row in self._games()}
        if pid not in running:
            return f"{pid} is no game that runs: see `scx-gamer games list`"
        return "another game runs too: end it first" if len(running) > 1 else ""

    def _try(self, trial: dict[str, object]) -> None:
        if trial == self._trial:
            return
        try:
            found = self._try_out(trial)
        except ProfileError as err:
            raise ControlError(str(err), USAGE) from err
        if self._trial:
            self._tried = self._id, self._trial, self._clock.now_ns()
        self._trial = found

    def _renew(self) -> None:
        self._timer.cancel()
        self._timer = self._clock.call_later(
            LEASE_S, lambda: self.end("the comparison gave no sign of life"), name="comparison"
        )

    def _fail(self, what: str) -> None:
        self.end(f"the comparison ended: {what}")
        raise ControlError(what, FAILED)

    def _on_frames(self, source: str, frames: list[Frame]) -> None:
        if source != self._source:  # frames of two sources are not comparable
            self._source, self._frames = source, []
        self._frames = (self._frames + frames)[-MAX_FRAMES:]


def _nothing() -> None:
    pass


def _read(request: Mapping[str, Any]) -> tuple[str, bool, bool, int, dict[str, object]]:
    """Return the client's id, whether it begins, whether to pause, the number of the pair, and tunables to try out."""
    name, begin = request.get("id"), request.get("begin", False)
    paused, pair, trial = request.get("paused"), request.get("pair"), request.get("trial", {})
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_ID:
        raise ControlError(f"give an id of 1 to {_MAX_ID} characters", USAGE)
    if not isinstance(begin, bool) or not isinstance(paused, bool):
        raise ControlError("begin and paused are true or false", USAGE)
    if type(pair) is not int or not 0 <= pair < 1 << 31:
        raise ControlError("pair is a number", USAGE)
    if not isinstance(trial, dict) or (trial and paused):
        raise ControlError("trial is a table of tunables, and of none in a pause", USAGE)
    return name, begin, paused, pair, trial
