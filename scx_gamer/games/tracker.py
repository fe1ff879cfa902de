# SPDX-License-Identifier: GPL-2.0-only
"""Which games run now, and which class each process of theirs has. Pure: time and `/proc` come from outside.

Events mark processes as changed; `update` looks at those alone. `reconcile` looks at everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from scx_gamer.games.lists import DetectData, matches
from scx_gamer.games.model import (
    BACKGROUND,
    CRITICAL,
    GAME,
    Assignment,
    Change,
    Game,
    Identity,
    ProcSource,
    standing,
)
from scx_gamer.games.proc import Process, Tree
from scx_gamer.games.rules import Context, Decision, decide, listed, main_process, wine_program

GRACE_S = 3.0  # a launcher that hands over, or a game that restarts itself, stays the same game
SETTLE_S = 60.0  # the main process is looked at again for this long: at exec it has one thread and no window
MAX_GAMES = 64


class Tracker:
    """The games of this machine."""

    def __init__(
        self, proc: ProcSource, data: DetectData, desktop_games: Mapping[str, str] | None = None
    ) -> None:
        self._proc = proc
        self.data = data
        self.desktop_games: Mapping[str, str] = dict(desktop_games or {})
        self.profile: Callable[[Process], str | None] = lambda _process: None
        self.tree = Tree(())
        self._standing: dict[int, str] = {}  # by pid, of every process in the tree
        self._dirty: dict[int, None] = {}
        self._touched: set[int] = set()  # by events, since the last look at all began
        self._explicit: dict[int, tuple[int, str]] = {}  # pid → (start, reason)
        self._hints: dict[int, tuple[int, str]] = {}
        self._executed: dict[int, tuple[int, str]] = {}  # pid → (start, a desktop game's program)
        self._ignored: set[Identity] = set()
        self._ended: set[Identity] = set()  # by their exit events, since the last look
        self._games: dict[Identity, Game] = {}
        self._member_of: dict[Identity, Identity] = {}  # process → its game
        self._classes: dict[int, Assignment] = {}
        self._cpu_before: dict[Identity, int] = {}
        self.focus_pid = 0
        self.own_pid = 0  # the supervisor: CRITICAL whether or not a game runs

    # -- facts from outside ------------------------------------------------------------------------

    def exec_seen(self, pid: int) -> None:
        self._dirty[pid] = None
        self._touched.add(pid)

    def executed(self, pid: int, start_ticks: int, path: str) -> None:
        """A desktop entry's script may have become its engine before anybody reads `/proc`."""
        known = self._executed.get(pid)
        if path in self.desktop_games and (known is None or known[0] != start_ticks):
            self._executed[pid] = start_ticks, path

    def exit_seen(self, pid: int, start_ticks: int = -1) -> None:
        """`start_ticks`: of the process that ended, where the event knows; it may not look ended yet."""
        self.exec_seen(pid)
        known = self.tree.get(pid)
        if known is not None and known.start_ticks == start_ticks:
            self._ended.add(known.identity)

    def fork_seen(self, parent: int, child: int, start_ticks: int) -> None:
        """A child of a game's process is in the game before anybody reads `/proc`."""
        self._touched.add(child)
        known = self.tree.get(parent)
        inherited = self._classes.get(parent)
        key = self._member_of.get(known.identity) if known is not None else None
        if known is None or key is None or inherited is None or inherited.class_name != GAME:
            self._dirty[child] = None
            return
        process = replace(known, pid=child, ppid=parent, start_ticks=start_ticks, cpu_ticks=0)
        self._put(process)
        self._classes[child] = replace(inherited, start_ticks=start_ticks)
        self._member_of[process.identity] = key
        game = self._games[key]
        self._games[key] = replace(game, members=game.members | {process.identity})

    def add_explicit(self, pid: int, reason: str) -> bool:
        """`games add` and `exec`: False when there is no such process, or it is one that works in the background."""
        process = self._proc.read(pid)
        if process is None or standing(process, self.data) == "background":
            return False
        self._ignored.discard(process.identity)
        return self._mark(self._explicit, pid, reason)

    def remove_explicit(self, pid: int) -> bool:
        """Take back what `add_explicit` said, or what a rule found: False when `pid` is in no game."""
        self._dirty[pid] = None
        process = self.tree.get(pid)
        key = self._member_of.get(process.identity) if process is not None else None
        if self._explicit.pop(pid, None) is not None:
            if key is not None and key[0] == pid:
                self._drop_game(key)
            return True
        if key is None or key[0] in self._explicit:
            return False
        self._ignored.add(key)
        self._drop_game(key)
        return True

    def add_hint(self, pid: int, source: str) -> bool:
        return self._mark(self._hints, pid, source)

    def remove_hint(self, pid: int) -> None:
        self._hints.pop(pid, None)
        self._dirty[pid] = None

    def _mark(self, table: dict[int, tuple[int, str]], pid: int, reason: str) -> bool:
        process = self._proc.read(pid)
        if process is None or process.kthread:
            return False
        table[pid] = process.start_ticks, reason
        self._dirty[pid] = None
        return True

    def _drop_game(self, key: Identity) -> None:
        """Nobody keeps it: `_evaluate` reports its end at once, without a grace."""
        game = self._games[key]
        self._games[key] = replace(game, members=frozenset(), ended_s=-GRACE_S)
        for member in game.members:
            self._member_of.pop(member, None)
            self._dirty[member[0]] = None

    # -- questions ---------------------------------------------------------------------------------

    @property
    def games(self) -> list[Game]:
        """Running games, oldest first."""
        return sorted(
            (g for g in self._games.values() if g.ended_s is None), key=lambda g: g.since_s
        )

    @property
    def lingering(self) -> bool:
        """Whether a game runs, or ended so recently that it may come back."""
        return bool(self._games)

    @property
    def active(self) -> Game | None:
        """The focused game, else the most recent; one within its grace when there is no other."""
        running = self.games
        for game in running:
            if any(pid == self.focus_pid for pid, _ in game.members):
                return game
        ending = sorted(self._games.values(), key=lambda g: g.since_s)
        return running[-1] if running else (ending[-1] if ending else None)

    def game_of(self, process: Process) -> Game | None:
        key = self._member_of.get(process.identity)
        return self._games.get(key) if key is not None else None

    def read(self, pid: int) -> Process | None:
        """A process as `/proc` shows it now."""
        return self._proc.read(pid)

    @property
    def classes(self) -> Mapping[int, Assignment]:
        return self._classes

    def waits_for_arguments(self) -> list[int]:
        """Wine's loaders that show no program yet: the command line is not there at exec time."""
        return [
            pid
            for pid, stand in self._standing.items()
            if stand == "plumbing"
            and (p := self.tree.get(pid)) is not None
            and matches(p.program, self.data.wine_loaders)
            and not any(a.lower().endswith(".exe") for a in p.argv)
        ]

    @property
    def has_work(self) -> bool:
        """Whether `update` has something to look at."""
        return bool(self._dirty)

    @property
    def next_deadline_s(self) -> float | None:
        """When `update` must run again although nothing happens."""
        times = [g.ended_s + GRACE_S for g in self._games.values() if g.ended_s is not None]
        return min(times, default=None)

    def unsettled(self, now_s: float) -> bool:
        """Whether a game is so young that its main process may still change."""
        return any(now_s - game.since_s <= SETTLE_S for game in self.games)

    def context(self) -> Context:
        return Context(
            tree=self.tree,
            data=self.data,
            explicit=self._alive(self._explicit),
            desktop_games=self.desktop_games,
            hints=self._alive(self._hints),
            executed=self._alive(self._executed),
            profile=self.profile,
            ignored=frozenset(self._ignored),
        )

    # -- looks -------------------------------------------------------------------------------------

    def look_at_all(self, fresh: Tree) -> Iterator[None]:
        """Reads every process into `fresh`, one each time it is asked: what `reconcile` then need not read."""
        self._touched = set()
        for pid in self._proc.pids():
            if (process := self._proc.read(pid, self.tree.get(pid))) is not None:
                fresh.put(process)
            yield

    def reconcile(self, now_s: float, fresh: Tree | None = None) -> Change:
        """Know every process: at the start, periodically, and after lost events. `fresh`: of a look that just
        ended; what an event has named since it began, and what it did not see, is read again.
        Raises OSError when /proc cannot be listed; nothing has changed then."""
        known, before, pids = fresh or Tree(()), self.tree, self._proc.pids()
        self.tree = Tree(())
        self._standing.clear()
        for pid in pids:
            process = known.get(pid) if pid not in self._touched else None
            if process is None:
                process = self._proc.read(pid, before.get(pid))
            if process is not None:
                self._put(process)
        self._dirty.clear()
        self._ignored = {i for i in self._ignored if self._lives(i)}
        return self._evaluate(now_s, self.tree, set(self._games), everything=True)

    def update(self, now_s: float) -> Change:
        """Look at what events named since the last look."""
        dirty, self._dirty = self._dirty, {}
        looked_at: list[Process] = []
        touched: set[Identity] = set()
        for pid in dirty:
            before = self.tree.get(pid)
            if before is not None and (key := self._member_of.get(before.identity)) is not None:
                touched.add(key)
            process = self._proc.read(pid)
            if process is None or process.identity in self._ended:
                self.tree.remove(pid)
                self._standing.pop(pid, None)
                continue
            self._put(process)
            self._read_lineage(process)
            looked_at.append(process)
        self._ended.clear()
        for process in looked_at:
            parent = self.tree.get(process.ppid)
            if parent is not None and (key := self._member_of.get(parent.identity)) is not None:
                touched.add(key)
        return self._evaluate(now_s, looked_at, touched, gone=dirty)

    def settle(self, now_s: float) -> None:
        """Choose the main process again, for games in their first minute or without one."""
        ctx = self.context()
        for key, game in self._games.items():
            if game.ended_s is None and (
                now_s - game.since_s <= SETTLE_S or not self._lives(game.main.identity)
            ):
                main = main_process(
                    game.decision.root, ctx, self._proc.has_render_node, self._cpu_since
                )
                self._games[key] = replace(game, main=main)
        self._cpu_before = {
            process.identity: process.cpu_ticks
            for identity in self._member_of
            if (process := self.tree.get(identity[0])) is not None
        }

    def _put(self, process: Process) -> None:
        self.tree.put(process)
        self._standing[process.pid] = standing(process, self.data)

    def _lives(self, identity: Identity) -> bool:
        process = self.tree.get(identity[0])
        return process is not None and process.identity == identity

    def _read_lineage(self, process: Process) -> None:
        """A parent that was never seen is read now: the event that named it was lost or came before us."""
        parent, left = process.ppid, 64
        while parent > 0 and parent not in self.tree and left > 0:
            found = self._proc.read(parent)
            if found is None:
                return
            self._put(found)
            parent, left = found.ppid, left - 1

    def _alive(self, table: dict[int, tuple[int, str]]) -> dict[int, str]:
        """Marks of processes that still are the ones that were marked."""
        kept: dict[int, str] = {}
        for pid, (start, reason) in list(table.items()):
            process = self.tree.get(pid)
            if process is not None and process.start_ticks == start:
                kept[pid] = reason
            elif process is not None or self._proc.read(pid) is None:
                del table[pid]
        return kept

    # -- decisions ---------------------------------------------------------------------------------

    def _evaluate(
        self,
        now_s: float,
        candidates: Iterable[Process],
        touched: set[Identity],
        *,
        gone: Iterable[int] = (),
        everything: bool = False,
    ) -> Change:
        ctx = self.context()
        was_playing = bool(self.games)
        touched |= {
            k for k, g in self._games.items() if g.ended_s is not None or self._explained(k, ctx)
        }
        ended = self._taken_back(ctx)
        freed = {pid for game in ended for pid, _ in game.members}
        candidates = [*candidates, *(p for pid in freed if (p := self.tree.get(pid)) is not None)]
        before = self._member_of.keys() | set()
        found = self._decisions(candidates, ctx)
        started: list[Game] = []
        for key, decision in found.items():
            game = Game(decision, decision.root, now_s, frozenset({key}))
            heir = self._taken_over_by(game)
            if heir is not None:  # the same game in another tree: it never ended
                del self._games[heir.key]
                game = replace(game, since_s=heir.since_s)
            elif len(self._games) >= MAX_GAMES:
                continue
            else:
                started.append(game)
            self._games[key] = game
            self._member_of[key] = key  # before another game's Wine looks for what nobody has
            touched.add(key)
        changed = {pid for key in touched for pid, _ in self._members_now(key)}
        for key in touched & self._games.keys():
            self._refresh(key, now_s, ctx, ended)
        for game in started:
            if (
                self._games[game.key].ended_s is not None
            ):  # a launcher so far: looked at again with its children
                self._forget(game.key)
        started = [self._games[g.key] for g in started if g.key in self._games]
        changed |= {pid for key in touched for pid, _ in self._members_now(key)}
        changed |= {p.pid for p in candidates} | set(gone)
        changed |= {pid for g in ended for pid, _ in g.members}
        changed |= {pid for pid, _ in before - self._member_of.keys()}
        if everything or bool(self.games) != was_playing:
            changed |= self._standing.keys() | self._classes.keys()
        return self._assign(tuple(started), tuple(ended), changed, now_s)

    def _taken_back(self, ctx: Context) -> list[Game]:
        """Forgets games that somebody took back: what was marked inside one of them is a game of its own now."""
        over = [
            key
            for key, game in self._games.items()
            if (game.ended_s is not None and game.ended_s < 0)
            or (self._explained(key, ctx) and self._lives(key))
        ]
        ended = [self._games[key] for key in over]
        for key in over:
            self._forget(key)
        return ended

    def _explained(self, key: Identity, ctx: Context) -> bool:
        """A game that stands or falls with a mark."""
        return self._games[key].decision.rule == "explicit" and key[0] not in ctx.explicit

    def _members_now(self, key: Identity) -> frozenset[Identity]:
        game = self._games.get(key)
        return game.members if game is not None else frozenset()

    def _decisions(self, candidates: Iterable[Process], ctx: Context) -> dict[Identity, Decision]:
        """New roots, without those inside another game's tree; a root above known games takes them in."""
        found: dict[Identity, Decision] = {}
        for process in candidates:
            key = self._member_of.get(process.identity)
            if key is not None and (process.pid not in ctx.explicit or key[0] == process.pid):
                continue
            decision = decide(process, ctx)
            if decision is None or decision.root.identity in self._games:
                continue
            known = found.get(decision.root.identity)
            if known is None or (decision.app_id and not known.app_id):
                found[decision.root.identity] = decision
        for key, decision in list(found.items()):
            above = {p.identity for p in self.tree.ancestors(decision.root)}
            inside = any(identity in self._member_of for identity in (key, *above))
            if inside or above & (found.keys() | self._games.keys()):
                del found[key]
        for key in found:
            for inner in [k for k, g in self._games.items() if self._is_below(g, key)]:
                self._forget(inner)
        return found

    def _is_below(self, game: Game, key: Identity) -> bool:
        """Whether a new root takes a game in: its root, or, once that has ended, all that is left of it."""
        root = game.decision.root
        left = [p for pid, _ in game.members if (p := self.tree.get(pid)) is not None]
        tops = [root] if self._lives(root.identity) or not left else left
        return all(any(p.identity == key for p in self.tree.ancestors(top)) for top in tops)

    def _forget(self, key: Identity) -> None:
        game = self._games.pop(key)
        for member in game.members:
            if self._member_of.get(member) == key:
                del self._member_of[member]

    def _taken_over_by(self, game: Game) -> Game | None:
        """An ended game within its grace that `game` continues."""
        for old in self._games.values():
            if (
                old.ended_s is not None
                and old.ended_s >= 0
                and (old.decision.rule, old.decision.app_id, old.decision.name)
                == (game.decision.rule, game.decision.app_id, game.decision.name)
            ):
                return old
        return None

    def _refresh(self, key: Identity, now_s: float, ctx: Context, ended: list[Game]) -> None:
        """Bring a game's members up to date; notice its end, and the end of its grace."""
        game = self._games[key]
        members = self._members(game, ctx)
        for member in game.members - members:
            if self._member_of.get(member) == key:
                del self._member_of[member]
        for member in members:
            self._member_of[member] = key
        if not self._keeps_going(key, members, ctx):
            for member in members:
                self._member_of.pop(member, None)
            ended_s = game.ended_s if game.ended_s is not None else now_s
            game = replace(game, members=frozenset(), ended_s=ended_s)
            self._games[key] = game
            if now_s - ended_s >= GRACE_S:
                self._forget(key)
                ended.append(game)
            return
        main = game.main
        if game.ended_s is not None or main.identity not in members or main is game.decision.root:
            main = main_process(
                game.decision.root, ctx, self._proc.has_render_node, self._cpu_since
            )
        self._games[key] = replace(game, members=frozenset(members), main=main, ended_s=None)

    def _members(self, game: Game, ctx: Context) -> set[Identity]:
        """The game's processes that live: its tree, orphans of it, and what Wine started for it elsewhere."""
        roots = [
            i
            for i in {game.key, *game.members}
            if self._lives(i) and self._member_of.get(i, game.key) == game.key
        ]
        members = set(roots)
        for pid, _ in roots:
            if not self._children_known(pid, members):
                members |= {
                    p.identity
                    for p in self.tree.descendants(pid)
                    if not p.kthread and self._member_of.get(p.identity, game.key) == game.key
                }
        processes = [p for pid, _ in members if (p := self.tree.get(pid)) is not None]
        wine = [
            p for p in processes if wine_program(p, ctx.data) or listed(p, ctx.data.wine_plumbing)
        ]
        if wine:
            prefixes = {(p.uid, p.env.get("WINEPREFIX", "")) for p in wine}
            members |= {
                p.identity
                for pid, stand in self._standing.items()
                if stand in ("plumbing", "wineserver")
                and (p := self.tree.get(pid)) is not None
                and p.identity not in self._member_of
                and listed(p, ctx.data.wine_plumbing)
                and (p.uid, p.env.get("WINEPREFIX", "")) in prefixes
            }
        return members

    def _children_known(self, pid: int, members: set[Identity]) -> bool:
        """Whether the walk below another member has been here."""
        return all(child.identity in members for child in self.tree.children(pid))

    def _keeps_going(self, key: Identity, members: set[Identity], ctx: Context) -> bool:
        """Launchers, plumbing and helpers alone are no game, unless somebody named one of them."""
        for pid, _ in members:
            if pid in ctx.explicit:
                return True
            stand = self._standing.get(pid, "")
            process = self.tree.get(pid)
            if stand == "" or (
                stand == "plumbing" and process is not None and wine_program(process, ctx.data)
            ):
                return True
        return False

    def _cpu_since(self, process: Process) -> int:
        now = self._proc.read(process.pid)
        ticks = now.cpu_ticks if now is not None else process.cpu_ticks
        return ticks - self._cpu_before.get(process.identity, 0)

    # -- classes -----------------------------------------------------------------------------------

    def _class_of(self, process: Process, playing: bool) -> tuple[str, str] | None:
        if process.pid == self.own_pid:
            return CRITICAL, "the supervisor: a game waits for its class while this waits for a CPU"
        stand = self._standing.get(process.pid, "")
        if stand == "aside":
            return None
        if stand == "background":
            return BACKGROUND, f"{process.program} is listed under background"
        if stand == "critical":
            return (CRITICAL, f"{process.program} is listed under critical") if playing else None
        game = self.game_of(process)
        if game is None or game.ended_s is not None:
            return None
        name = CRITICAL if stand == "wineserver" else GAME
        return name, f"in the tree of {game.decision.name} by rule {game.decision.rule}"

    def _assign(
        self, started: tuple[Game, ...], ended: tuple[Game, ...], pids: set[int], now_s: float
    ) -> Change:
        assigned: dict[int, Assignment] = {}
        removed: list[int] = []
        playing = bool(self.games)
        for pid in pids:
            process = self.tree.get(pid)
            told = self._class_of(process, playing) if process is not None else None
            if process is None or told is None:
                if self._classes.pop(pid, None) is not None:
                    removed.append(pid)
                continue
            wanted = Assignment(told[0], process.start_ticks, told[1], now_s)
            if self._classes.get(pid) != wanted:
                self._classes[pid] = assigned[pid] = wanted
        return Change(started, ended, assigned, tuple(removed))
