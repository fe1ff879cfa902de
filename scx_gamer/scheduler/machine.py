# SPDX-License-Identifier: GPL-2.0-or-later
"""The state machine of the scheduler: its state and the cause. No I/O of its own."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from scx_gamer.config.options import SupervisorOptions
from scx_gamer.scheduler.errors import AttachBusy, AttachFailed, AttachUnsupported
from scx_gamer.scheduler.exits import Action, ExitRecord, classify
from scx_gamer.scheduler.store import Failure, StateStore

log = logging.getLogger(__name__)


class State(enum.StrEnum):
    OFF = "off"  # switched off by the user, over reboots
    IDLE = "idle"  # waiting for a game
    ATTACHED = "attached"
    PAUSED = "paused"  # amid a comparison, for a while; no restart of the supervisor finds it
    BACKOFF = "backoff"  # will attach again by itself
    FALLBACK = "fallback"  # gave up until told otherwise
    CONFLICT = "conflict"  # another scheduler is loaded
    UNSUPPORTED = "unsupported"


class Attached(Protocol):
    """One attached scheduler."""

    def ended(self) -> ExitRecord | None:
        """The record of ops.exit, None while the scheduler runs."""
        ...

    def close(self) -> None: ...


class Kernel(Protocol):
    """The machine's only way to the kernel; tests replace it."""

    def unsupported(self) -> str | None: ...

    def attach(self, generation: int) -> Attached: ...

    def other_loaded(self) -> bool:
        """Return True while a scheduler that is not ours is loaded, or on its way in or out."""
        ...

    def hotplugs(self) -> int:
        """Return how often a CPU came or went since the boot."""
        ...

    def keep_dump(self, record: ExitRecord) -> None: ...


class Cancel(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """The part of Loop that is time."""

    def now_ns(self) -> int: ...

    def call_later(self, delay_s: float, callback: Callable[[], None], *, name: str) -> Cancel: ...


@dataclass(frozen=True)
class Counters:
    """Since the supervisor's start."""

    attaches: dict[str, int]
    exits: dict[str, int]
    restarts: int


class Machine:
    """Owner of the attached scheduler and of its state; close() detaches.

    `on_change` gets the state before each change. It must note the change only: the machine may be amid another one.
    """

    def __init__(
        self,
        options: SupervisorOptions,
        kernel: Kernel,
        clock: Clock,
        store: StateStore,
        boot: str,
        on_change: Callable[[State], None] = lambda _before: None,
    ) -> None:
        self._options = options
        self._kernel = kernel
        self._clock = clock
        self._store = store
        self._boot = boot
        self._on_change = on_change
        self._timer: Cancel | None = None
        self._retry_at_ns: int | None = None
        self._consecutive = 0  # failures without a long healthy run between them
        self._quick_restarts = 0
        self._hotplugs = 0  # as counted at the last look
        self._wanted = False
        self._attached_ns = 0
        self._free_since_ns: int | None = None  # in conflict: since when nobody else is loaded
        self._attaches = dict.fromkeys(("ok", "busy", "failed", "unsupported"), 0)
        self._exits: dict[str, int] = {}
        self._restarts = 0
        self.attached: Attached | None = None
        self.state = State.IDLE
        self.cause = "starting"
        self.since_ns = clock.now_ns()
        self.last_exit: ExitRecord | None = None

    # ---- queries ---------------------------------------------------------------------------

    @property
    def off(self) -> bool:
        """Return True if the user or the kernel has switched the scheduler off."""
        return self.state is State.OFF

    @property
    def inactive(self) -> bool:
        """Return True if nothing that helps games should be in force: off, or paused."""
        return self.state in INACTIVE

    def counters(self) -> Counters:
        return Counters(dict(self._attaches), dict(self._exits), self._restarts)

    def retry_in_s(self) -> float | None:
        if self._retry_at_ns is None:
            return None
        return max(0.0, (self._retry_at_ns - self._clock.now_ns()) / 1e9)

    def recent_failures(self) -> int:
        """Count the failures of this boot within the budget's window."""
        since = self._clock.now_ns() - int(self._options.budget_window_s * 1e9)
        return sum(
            failure.boot_id == self._boot and since <= failure.time_ns
            for failure in self._store.state.failures
        )

    # ---- events ----------------------------------------------------------------------------

    def start(self, wanted: bool) -> None:
        """Take up the state that the store kept; attach if `wanted` and nothing forbids it."""
        self._wanted = wanted
        reason = self._kernel.unsupported()
        if reason:
            self._change(State.UNSUPPORTED, reason)
        elif self._store.state.off:
            self._change(State.OFF, self._store.state.off_reason or "switched off earlier")
        elif self._store.state.fallback_boot and self._store.state.fallback_boot == self._boot:
            self._change(State.FALLBACK, "gave up earlier in this boot; `scx-gamer start` tries")
        else:
            self._follow_wanted("started")

    def set_wanted(self, wanted: bool, cause: str) -> None:
        """Set whether a scheduler is wanted; attach or detach where the state allows it."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        if self.state in (State.OFF, State.FALLBACK, State.UNSUPPORTED):
            return
        if self.state is State.BACKOFF and wanted:
            return  # its timer decides
        self._follow_wanted(cause)

    def user_start(self) -> None:
        """Attach if wanted, also out of off, fallback and conflict."""
        if self.state is State.UNSUPPORTED:
            return
        self._store.save(off=False, off_reason="", fallback_boot="", failures=())
        self._consecutive = 0
        if self.state is not State.ATTACHED:
            self._follow_wanted("start was asked for")

    def user_stop(self, reason: str = "stop was asked for") -> None:
        """Switch off; the state survives a reboot."""
        self._store.save(off=True, off_reason=reason)
        self._detach()
        if self.state is not State.UNSUPPORTED:
            self._change(State.OFF, reason)

    def pause(self, cause: str) -> None:
        """Detach until resume(), until no scheduler is wanted, or until a user's start or restart."""
        if self.state is State.ATTACHED:
            self._detach()
            self._change(State.PAUSED, cause)

    def resume(self, cause: str) -> None:
        """End a pause."""
        if self.state is State.PAUSED:
            self._follow_wanted(cause)

    def user_restart(self) -> None:
        """Detach and attach a new generation."""
        if self.state in (State.OFF, State.UNSUPPORTED):
            return
        self._detach()
        self._follow_wanted("restart was asked for")

    def check(self) -> None:
        """Handle the end of the scheduler, or in conflict of the other one; called on exit events and heartbeats."""
        if self.state is State.CONFLICT:
            self._check_conflict()
            return
        record = self.attached.ended() if self.attached is not None else None
        if record is None:
            return
        self._detach()
        ran_s = (self._clock.now_ns() - self._attached_ns) / 1e9
        if ran_s >= self._options.budget_window_s:
            self._consecutive = 0
        if ran_s >= self._options.quick_restart_s:
            self._quick_restarts = 0
        self._handle_exit(record)

    def _check_conflict(self) -> None:
        """Attach once nobody else was loaded for a while: who switches from one scheduler to the next must not lose."""
        now = self._clock.now_ns()
        if self._kernel.other_loaded():
            self._free_since_ns = None
        elif self._free_since_ns is None:
            self._free_since_ns = now
        elif now - self._free_since_ns >= self._options.conflict_free_s * 1e9:
            self._follow_wanted("the other scheduler has ended")

    def close(self) -> None:
        """Detach; the state stays, for the last status."""
        self._detach()

    # ---- transitions -----------------------------------------------------------------------

    def _follow_wanted(self, cause: str) -> None:
        """Attach if a scheduler is wanted, else detach."""
        self._cancel_retry()
        if self._wanted:
            if self.attached is None:
                self._attach(cause)
        else:
            self._detach()
            self._change(State.IDLE, cause)

    def _attach(self, cause: str) -> None:
        self._cancel_retry()
        generation = self._store.state.generation + 1
        self._store.save(generation=generation)
        try:
            self.attached = self._kernel.attach(generation)
        except AttachBusy as err:
            self._attaches["busy"] += 1
            self._free_since_ns = None
            self._change(
                State.CONFLICT, f"the scheduler {err} is loaded; ours follows when it ends"
            )
        except AttachUnsupported as err:
            self._attaches["unsupported"] += 1
            self._change(State.UNSUPPORTED, str(err))
        except AttachFailed as err:
            self._attaches["failed"] += 1
            self._handle_exit(err.record)
        else:
            self._attaches["ok"] += 1
            self._attached_ns = self._clock.now_ns()
            self._change(State.ATTACHED, f"{cause}; generation {generation}")

    def _handle_exit(self, record: ExitRecord) -> None:
        self.last_exit = record
        self._exits[record.name] = self._exits.get(record.name, 0) + 1
        action = classify(record.kind, record.code)
        if action is Action.COUNT:
            self._kernel.keep_dump(record)
            self._count_failure(record)
        elif action is Action.OFF:
            self._store.save(off=True, off_reason=record.line())
            self._change(State.OFF, record.line())
        elif action is Action.RESTART:
            self._restarts += 1
            # Exponential backoff, because hotplug at a pace that lets us attach in between must not become a storm of
            # loads. For a burst, _retry_settled() waits.
            delay = self._options.settle_s * (1 << min(self._quick_restarts, 7))
            self._quick_restarts += 1
            self._hotplugs = self._kernel.hotplugs()
            settle_by_ns = self._clock.now_ns() + int(self._options.settle_max_s * 1e9)
            retry = partial(self._retry_settled, settle_by_ns)
            self._retry_later(delay, f"{record.line()}; not counted", retry)
        else:
            # detached by us, or by another process that destroyed our link: stay detached
            self._change(State.IDLE, record.line())

    def _count_failure(self, record: ExitRecord) -> None:
        failure = Failure(self._boot, self._clock.now_ns(), record.kind, record.line()[:200])
        state = self._store.state.with_failure(failure)
        self._store.save(failures=state.failures)
        if self.recent_failures() >= self._options.budget:
            self._store.save(fallback_boot=self._boot)
            self._change(State.FALLBACK, f"{self._options.budget} failures, last: {record.line()}")
            return
        delays = self._options.backoff_s
        delay = delays[min(self._consecutive, len(delays) - 1)]
        self._consecutive += 1
        self._retry_later(delay, record.line())

    def _retry_later(
        self, delay_s: float, cause: str, retry: Callable[[], None] | None = None
    ) -> None:
        self._set_retry(delay_s, retry or self._retry)
        self._change(State.BACKOFF, f"{cause}; again in {delay_s:g} s")

    def _set_retry(self, delay_s: float, retry: Callable[[], None]) -> None:
        self._cancel_retry()
        self._retry_at_ns = self._clock.now_ns() + int(delay_s * 1e9)
        self._timer = self._clock.call_later(delay_s, retry, name="attach again")

    def _retry_settled(self, settle_by_ns: int) -> None:
        """Attach again once no CPU came or went for a while: a burst, such as SMT's, is one new generation."""
        before, self._hotplugs = self._hotplugs, self._kernel.hotplugs()
        if self._hotplugs == before or self._clock.now_ns() >= settle_by_ns:
            self._retry()
        else:
            self._set_retry(self._options.settle_s, partial(self._retry_settled, settle_by_ns))

    def _retry(self) -> None:
        self._follow_wanted("attached again" if self._wanted else "no game any more")

    def _cancel_retry(self) -> None:
        timer, self._timer = self._timer, None
        self._retry_at_ns = None
        if timer is not None:
            timer.cancel()

    def _detach(self) -> None:
        self._cancel_retry()
        attached, self.attached = self.attached, None
        if attached is not None:
            attached.close()

    def _change(self, state: State, cause: str) -> None:
        if state is self.state and cause == self.cause:
            return
        level = logging.WARNING if state in _BAD else logging.INFO
        log.log(level, "%s -> %s: %s", self.state, state, cause)
        before = self.state
        self.state, self.cause, self.since_ns = state, cause, self._clock.now_ns()
        self._on_change(before)


INACTIVE = (State.OFF, State.PAUSED)
_BAD = (State.BACKOFF, State.FALLBACK, State.CONFLICT, State.UNSUPPORTED)
