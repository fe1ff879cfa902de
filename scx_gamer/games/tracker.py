# SPDX-License-Identifier: GPL-2.0-only
"""Which games run now, and which class each process of theirs has. Pure: time and `/proc` come from outside.

`exec` and `exit` events mark processes as changed; `update` looks at those alone. `reconcile` looks at everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from scx_gamer.games.data import DetectData, matches
from scx_gamer.games.proc import Process, Tree
from scx_gamer.games.rules import (
    Context,
    Decision,
    decide,
    listed,
    main_process,
    why_not,
    wine_program,
)

GRACE_S = 3.0  # a launcher that hands over, or a game that restarts itself, stays the same game
SETTLE_S = 60.0  # the main process is looked at again for this long: at exec it has one thread and no window

GAME, CRITICAL, BACKGROUND = "GAME", "CRITICAL", "BACKGROUND"

WINESERVERS = ("wineserver", "wineserver32", "wineserver64")  # the game waits for it synchronously

Identity = tuple[int, int]


class ProcSource(Protocol):
    """The part of `/proc` that the tracker reads; `ProcFs` is the real one."""

    def pids(self) -> list[int]: ...
    def read(self, pid: int) -> Process | None: ...
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
    """The class of one process and the reason it has it."""

    class_name: str
    start_ticks: int
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """What one look at the processes changed."""

    started: tuple[Game, ...] = ()
    ended: tuple[Game, ...] = ()
    assigned: Mapping[int, Assignment] = field(default_factory=dict)
    removed: tuple[int, ...] = ()


class Tracker:
    """The games of this machine."""

    def __init__(
        self, proc: ProcSource, data: DetectData, desktop_games: Mapping[str, str] | None = None
    ) -> None:
        self._proc = proc
        self._data = data
        self._desktop = dict(desktop_games or {})
        self._tree = Tree(())
        self._dirty: set[int] = set()
        self._explicit: dict[int, tuple[int, str]] = {}  # pid → (start, reason)
        self._hints: dict[int, tuple[int, str]] = {}
        self._games: dict[Identity, Game] = {}
        self._classes: dict[int, Assignment] = {}
        self._cpu_before: dict[Identity, int] = {}
        self.focus_pid = 0

    # -- facts from outside ------------------------------------------------------------------------

    def exec_seen(self, pid: int) -> None:
        self._dirty.add(pid)

    def exit_seen(self, pid: int) -> None:
        self._dirty.add(pid)

    def add_explicit(self, pid: int, reason: str) -> bool:
        """`games add` and `exec`: False when there is no such process."""
        return self._mark(self._explicit, pid, reason)

    def remove_explicit(self, pid: int) -> bool:
        self._dirty.add(pid)
        return self._explicit.pop(pid, None) is not None

    def add_hint(self, pid: int, source: str) -> bool:
        return self._mark(self._hints, pid, source)

    def remove_hint(self, pid: int) -> None:
        self._hints.pop(pid, None)
        self._dirty.add(pid)

    def _mark(self, table: dict[int, tuple[int, str]], pid: int, reason: str) -> bool:
        process = self._proc.read(pid)
        if process is None or process.kthread:
            return False
        table[pid] = process.start_ticks, reason
        self._dirty.add(pid)
        return True

    # -- questions ---------------------------------------------------------------------------------

    @property
    def games(self) -> list[Game]:
        """Running games, oldest first."""
        return sorted(
            (g for g in self._games.values() if g.ended_s is None), key=lambda g: g.since_s
        )

    @property
    def active(self) -> Game | None:
        """The focused game, else the most recent; one within its grace when there is no other."""
        running = self.games
        for game in running:
            if any(pid == self.focus_pid for pid, _ in game.members):
                return game
        ending = sorted(self._games.values(), key=lambda g: g.since_s)
        return running[-1] if running else (ending[-1] if ending else None)

    @property
    def classes(self) -> Mapping[int, Assignment]:
        return self._classes

    @property
    def next_deadline_s(self) -> float | None:
        """When `update` must run again although nothing happens."""
        times = [g.ended_s + GRACE_S for g in self._games.values() if g.ended_s is not None]
        return min(times, default=None)

    def explain(self, pid: int) -> dict[str, object]:
        """The chain of evidence for one process, for a game and for anything else."""
        process = self._proc.read(pid)
        if process is None:
            return {"pid": pid, "game": False, "because": "there is no such process"}
        decision = decide(process, self._context())
        member_of = next((g for g in self._games.values() if process.identity in g.members), None)
        assignment = self._classes.get(pid)
        answer: dict[str, object] = {
            "pid": pid,
            "program": process.program,
            "lineage": [f"{p.pid} {p.program}" for p in (process, *self._tree.ancestors(process))],
            "game": member_of is not None,
            "class": assignment.class_name if assignment else "NORMAL",
            "class_reason": assignment.reason if assignment else "no rule gives it a class",
        }
        if member_of is not None:
            answer["rule"] = member_of.decision.rule
            answer["evidence"] = list(member_of.decision.evidence)
            answer["main_pid"] = member_of.main.pid
            answer["since_monotonic_s"] = member_of.since_s
        else:
            answer["because"] = (
                "rule " + decision.rule + " matches, the next look makes it a game"
                if decision
                else why_not(process, self._context())
            )
        return answer

    # -- looks -------------------------------------------------------------------------------------

    def reconcile(self, now_s: float) -> Change:
        """Read every process: at the start, periodically, and after lost events."""
        self._tree = Tree(p for p in map(self._proc.read, self._proc.pids()) if p is not None)
        self._dirty.clear()
        return self._evaluate(now_s, self._tree)

    def update(self, now_s: float) -> Change:
        """Look at what events named since the last look, and at games in their first minute."""
        dirty, self._dirty = self._dirty, set()
        looked_at: list[Process] = []
        for pid in dirty:
            process = self._proc.read(pid)
            if process is None:
                self._tree.remove(pid)
                continue
            self._tree.put(process)
            self._read_lineage(process)
            looked_at.append(process)
        return self._evaluate(now_s, looked_at)

    def _read_lineage(self, process: Process) -> None:
        """A parent that was never seen is read now: the event that named it was lost or came before us."""
        parent, left = process.ppid, 64
        while parent > 0 and parent not in self._tree and left > 0:
            found = self._proc.read(parent)
            if found is None:
                return
            self._tree.put(found)
            parent, left = found.ppid, left - 1

    def _context(self) -> Context:
        return Context(
            tree=self._tree,
            data=self._data,
            explicit=self._alive(self._explicit),
            desktop_games=self._desktop,
            hints=self._alive(self._hints),
        )

    def _alive(self, table: dict[int, tuple[int, str]]) -> dict[int, str]:
        """Marks of processes that still are the ones that were marked."""
        kept: dict[int, str] = {}
        for pid, (start, reason) in list(table.items()):
            process = self._tree.get(pid)
            if process is not None and process.start_ticks == start:
                kept[pid] = reason
            elif process is not None or self._proc.read(pid) is None:
                del table[pid]
        return kept

    def _evaluate(self, now_s: float, candidates: Iterable[Process]) -> Change:
        ctx = self._context()
        roots = {g.key: g for g in self._games.values()}
        found: dict[Identity, Decision] = {g.key: g.decision for g in self._games.values()}
        inside = {identity for g in self._games.values() for identity in g.members}
        for process in candidates:
            if process.identity in inside:
                continue
            decision = decide(process, ctx)
            if decision is None:
                continue
            known = found.get(decision.root.identity)
            if known is None or (decision.app_id and not known.app_id):
                found[decision.root.identity] = decision
        started: list[Game] = []
        ended: list[Game] = []
        games: dict[Identity, Game] = {}
        for key, decision in self._without_nested(found).items():
            if decision.rule == "explicit" and key[0] not in ctx.explicit:
                if key in roots:
                    ended.append(roots[key])
                continue
            members = self._members(decision.root, ctx)
            old = roots.get(key)
            if not members:
                if old is None:
                    continue
                gone = old if old.ended_s is not None else replace(old, ended_s=now_s)
                if now_s - (gone.ended_s or now_s) >= GRACE_S:
                    ended.append(gone)
                else:
                    games[key] = gone
                continue
            game = self._refresh(old, decision, members, now_s, ctx)
            if old is None:
                started.append(game)
            games[key] = game
        ended.extend(g for k, g in roots.items() if k not in games and g not in ended)
        self._games = games
        self._remember_cpu()
        return self._assign(tuple(started), tuple(ended), ctx)

    def _without_nested(self, found: dict[Identity, Decision]) -> dict[Identity, Decision]:
        """A tree inside another game's tree is part of that game."""
        kept: dict[Identity, Decision] = {}
        for key, decision in found.items():
            above = {p.identity for p in self._tree.ancestors(decision.root)}
            if not above & found.keys():
                kept[key] = decision
        return kept

    def _members(self, root: Process, ctx: Context) -> list[Process]:
        """The game's processes that live: its tree, and what Wine started for it outside the tree."""
        alive = self._tree.get(root.pid)
        members = [alive] if alive is not None and alive.identity == root.identity else []
        members += self._tree.descendants(root.pid)
        if any(wine_program(p, self._data) or listed(p, self._data.wine_plumbing) for p in members):
            prefixes = {(p.uid, p.env.get("WINEPREFIX", "")) for p in members if not p.kthread}
            known = {p.identity for p in members}
            members += [
                p
                for p in self._tree
                if p.identity not in known
                and listed(p, self._data.wine_plumbing)
                and (p.uid, p.env.get("WINEPREFIX", "")) in prefixes
            ]
        plumbing = (
            *self._data.wrappers,
            *self._data.wine_plumbing,
            *self._data.tools,
            *self._data.background,
        )
        if root.pid not in ctx.explicit and all(
            listed(p, plumbing) or listed(p, self._data.helpers) for p in members
        ):
            return []  # launchers and plumbing alone are no game
        return members

    def _refresh(
        self,
        old: Game | None,
        decision: Decision,
        members: list[Process],
        now_s: float,
        ctx: Context,
    ) -> Game:
        identities = frozenset(p.identity for p in members)
        settled = (
            old is not None and now_s - old.since_s > SETTLE_S and old.main.identity in identities
        )
        if old is not None and settled:
            main = old.main
        else:
            main = main_process(decision.root, ctx, self._proc.has_render_node, self._cpu_since)
        return Game(decision, main, old.since_s if old else now_s, identities)

    def _cpu_since(self, process: Process) -> int:
        now = self._proc.read(process.pid)
        ticks = now.cpu_ticks if now is not None else process.cpu_ticks
        return ticks - self._cpu_before.get(process.identity, 0)

    def _remember_cpu(self) -> None:
        self._cpu_before = {
            identity: process.cpu_ticks
            for game in self._games.values()
            for identity in game.members
            if (process := self._tree.get(identity[0])) is not None
        }

    def _assign(self, started: tuple[Game, ...], ended: tuple[Game, ...], ctx: Context) -> Change:
        wanted: dict[int, Assignment] = {}
        for process in self._tree:
            if process.kthread:
                continue
            if matches(process.program, self._data.background):
                reason = f"{process.program} is listed under background"
                wanted[process.pid] = Assignment(BACKGROUND, process.start_ticks, reason)
            elif self._games and matches(process.program, self._data.critical):
                reason = f"{process.program} is listed under critical"
                wanted[process.pid] = Assignment(CRITICAL, process.start_ticks, reason)
        for game in self.games:
            for pid, start in game.members:
                member = self._tree.get(pid)
                if member is None or member.start_ticks != start or pid in wanted:
                    continue
                if listed(member, self._data.helpers) or listed(member, self._data.tools):
                    continue
                served = matches(member.program, WINESERVERS)
                name = CRITICAL if served else GAME
                reason = f"in the tree of {game.decision.name} by rule {game.decision.rule}"
                wanted[pid] = Assignment(name, start, reason)
        assigned = {pid: a for pid, a in wanted.items() if self._classes.get(pid) != a}
        removed = tuple(pid for pid in self._classes if pid not in wanted)
        self._classes = wanted
        return Change(started, ended, assigned, removed)
