# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes that callbacks report, and their consequences in one order, once for each pass of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Consequences(Protocol):
    """The consequences of a change. A consequence may report further changes, but calls no other consequence."""

    def choose_profile(self, failed: Sequence[str]) -> None:
        """Choose the profile again; the scheduler failed under the profiles `failed`."""
        ...

    def set_wanted(self, cause: str) -> None:
        """Tell the state machine whether a scheduler is wanted; `cause` is empty where only games changed."""
        ...

    def limit_network(self) -> None: ...

    def hold_resources(self) -> None: ...

    def record_sessions(self) -> None: ...

    def publish(self) -> None: ...


class ChangeQueue:
    """Flags set by callbacks; apply() acts on them: profile, wanted state, network limits, sessions, publication.

    Callbacks must not act themselves, because they may run amid a transition of the state machine.
    """

    def __init__(self, consequences: Consequences) -> None:
        self._consequences = consequences
        self._failed: list[str] = []  # the profile of each failure of the scheduler
        self._cause = ""
        self._profile = self._wanted = self._limits = False
        self._sessions = self._publication = False

    def games_changed(self) -> None:
        self._profile = self._wanted = self._limits = True
        self._sessions = self._publication = True

    def game_executed(self) -> None:
        """Report that a process of a game runs another program, which may be the one that a profile names."""
        self._profile = True

    def profile_changed(self, cause: str) -> None:
        self._cause = cause
        self._wanted = self._limits = self._publication = True

    def scheduler_failed(self, profile: str) -> None:
        self._failed.append(profile)
        self._profile = self._publication = True

    def state_changed(self, *, switched: bool) -> None:
        """Report another state of the scheduler; `switched`: from off or to off."""
        self._limits |= switched
        self._sessions = self._publication = True

    def status_changed(self) -> None:
        self._publication = True

    def apply(self) -> None:
        """Act on the flags. Before an answer to a client, call it so that the answer shows the consequences.

        Another turn of the loop follows only an attach that failed, whose profile may be disabled for it.
        """
        while self._profile or self._wanted:
            if self._profile:
                self._profile = False
                failed, self._failed = self._failed, []
                self._consequences.choose_profile(failed)
            self._wanted = False
            cause, self._cause = self._cause, ""
            self._consequences.set_wanted(cause)
        if self._limits:
            self._limits = False
            self._consequences.limit_network()
            self._consequences.hold_resources()
        if self._sessions:
            self._sessions = False
            self._consequences.record_sessions()
        if self._publication:
            self._publication = False
            self._consequences.publish()
