# SPDX-License-Identifier: GPL-2.0-only
"""What the tracker speaks of: a game, the class of a process, and what the lists make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from scx_gamer.games.lists import DetectData, matches
from scx_gamer.games.proc import Process
from scx_gamer.games.rules import MAX_NAME, Decision, listed, names_of

GAME, CRITICAL, BACKGROUND = "GAME", "CRITICAL", "BACKGROUND"

WINESERVERS = ("wineserver", "wineserver32", "wineserver64")  # the game waits for it synchronously

Identity = tuple[int, int]


class ProcSource(Protocol):
    """The part of `/proc` that the tracker reads; `ProcFs` is the real one."""

    def pids(self) -> list[int]: ...
    def read(self, pid: int, known: Process | None = None) -> Process | None: ...
    def has_render_node(self, pid: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class Game:
    """A game that runs, or ended less than `GRACE_S` ago. Times are CLOCK_MONOTONIC seconds."""

    decision: Decision
    main: Process
    since_s: float
    members: frozenset[Identity]
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
    """What one look at the processes changed."""

    started: tuple[Game, ...] = ()
    ended: tuple[Game, ...] = ()
    assigned: Mapping[int, Assignment] = field(default_factory=dict)
    removed: tuple[int, ...] = ()


def standing(process: Process, data: DetectData) -> str:
    """What the lists make of a process, whatever tree it is in: background, critical, wineserver, aside (no class),
    plumbing (in the tree, but not what keeps the game going), or nothing."""
    if process.kthread:
        return "aside"
    if matches(process.program, data.background):
        return "background"
    if matches(process.program, data.critical):
        return "critical"
    if matches(process.program, WINESERVERS):
        return "wineserver"
    if listed(process, data.helpers) or listed(process, data.tools):
        return "aside"
    if listed(process, (*data.wrappers, *data.launchers, *data.wine_plumbing, *data.wine_loaders)):
        return "plumbing"
    return ""


def program_of(process: Process) -> str:
    """How a process is called in an answer: its Windows program before the loader that runs it."""
    return names_of(process)[0][:MAX_NAME]
