# SPDX-License-Identifier: GPL-2.0-or-later
"""A frame, the game it is of, and the face of every source of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from scx_gamer.system.errors import ScxGamerError

# A frame of more is none: the game was stopped, or waited for something else.
LONGEST_NS = 10**9


class FrameError(ScxGamerError):
    """A source that is unavailable for a game: what failed, errno (0 if none), what to do."""


class Frame(NamedTuple):
    """One frame. Both times are in nanoseconds."""

    end_ns: int  # of CLOCK_MONOTONIC
    took_ns: int  # since the end of the frame before


@dataclass(frozen=True, slots=True)
class FrameGame:
    """The facts of a game that sources need."""

    pid: int  # of its main process
    uid: int
    pids: frozenset[int]  # of all its processes


class FrameSource(Protocol):
    """A source of frame times. Not thread-safe; no method blocks."""

    @property
    def name(self) -> str:
        """A short name, which status, records and metrics show."""

    @property
    def tells(self) -> str:
        """The meaning of its frame times, as half a sentence."""

    @property
    def cannot_tell(self) -> str:
        """The gaps in its frame times, as half a sentence."""

    def open(self, game: FrameGame) -> None:
        """Begin with the frames of a game. Raises FrameError if the source is unavailable for it."""

    def read(self) -> list[Frame]:
        """Return the frames since the last call, oldest first. Raises FrameError if the source has ended."""

    def close(self) -> None:
        """End. Idempotent."""
