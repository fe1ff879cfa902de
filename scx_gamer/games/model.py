# SPDX-License-Identifier: GPL-2.0-or-later
"""The tracker's records: a game, a process as it knows it, the class of a process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from scx_gamer.games.commandline import Words, file_name
from scx_gamer.games.proc import Process
from scx_gamer.games.rules import NEUTRAL, Decision, Facts, State

GAME, CRITICAL, BACKGROUND = "GAME", "CRITICAL", "BACKGROUND"

WINESERVERS = ("wineserver", "wineserver32", "wineserver64")  # the game waits for it synchronously

Identity = tuple[int, int]


class ProcSource(Protocol):
    """The part of `/proc` that the tracker reads; `ProcFs` is the real one."""

    def pids(self) -> Iterable[int]: ...
    def read(self, pid: int, known: Process | None = None) -> Process | None: ...
    def is_same(self, known: Process) -> bool: ...
    def is_roots(self, process: Process, script: str = "") -> bool: ...
    def has_render_node(self, pid: int) -> bool: ...


@dataclass(slots=True, eq=False)
class Node:
    """A process as the tracker knows it."""

    process: Process
    facts: Facts
    incoming: State = NEUTRAL  # of its parent; kept when the parent ends
    state: State = NEUTRAL  # what it hands to its children
    group: Game | None = None
    keeper: bool = False
    latent: str = ""  # class outside of any game while one runs: critical, relay, own relay, audio
    placed: bool = False

    @property
    def words(self) -> Words:
        return self.facts.words


@dataclass(slots=True, eq=False)
class Game:
    """A claim with its processes: a game while one of them is more than a launcher, and for `GRACE_S` after.

    Times are CLOCK_MONOTONIC seconds. `members` and `keepers` change as processes come and go.
    """

    decision: Decision  # with the name that is shown
    main: Process
    claim: Decision  # as the rule made it
    since_s: float = 0.0
    changed_s: float = 0.0  # when a process joined that may be the main one
    members: set[Identity] = field(default_factory=set)
    keepers: set[Identity] = field(default_factory=set)
    prefixes: set[tuple[int, str]] = field(default_factory=set)
    running: bool = False
    named_by_main: bool = False
    ended_s: float | None = None

    @property
    def key(self) -> Identity:
        return self.decision.root.identity


@dataclass(frozen=True, slots=True)
class Assignment:
    """The class of one process, the reason it has it, and since when."""

    class_name: str
    start_ticks: int
    reason: str
    since_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Change:
    """The changes of one look at the processes."""

    started: tuple[Game, ...] = ()
    ended: tuple[Game, ...] = ()
    assigned: Mapping[int, Assignment] = field(default_factory=dict)
    removed: tuple[int, ...] = ()


def program_of(words: Words) -> str:
    """Return the name of a process for an answer: its Windows program before the loader that runs it, its script before
    the interpreter."""
    return file_name(words.windows).lower() or words.name or words.program
