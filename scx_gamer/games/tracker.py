# SPDX-License-Identifier: GPL-2.0-or-later
"""The games that run now, and the class of each of their processes. Pure: time and `/proc` come from outside.

Events and looks mark processes; each is read once and evaluated after its parent, and its children again only if what
it hands to them has changed. So a look costs as much as there are changes, and a child of a game as much as one
process, however many the game has.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from math import inf

from scx_gamer.games import records, rules
from scx_gamer.games.commandline import Words, file_name, is_audio_service
from scx_gamer.games.commandline import read as read_words
from scx_gamer.games.desktop import Entries
from scx_gamer.games.lists import DetectData, RoleTable
from scx_gamer.games.model import (
    BACKGROUND,
    CRITICAL,
    GAME,
    WINESERVERS,
    Assignment,
    Change,
    Game,
    Identity,
    Node,
    ProcSource,
)
from scx_gamer.games.proc import Process, Tree
from scx_gamer.games.rules import NEUTRAL, Context, Decision, Facts
from scx_gamer.games.userfiles import Mounts

GRACE_S = 3.0  # a launcher that hands over, or a game that restarts itself, stays the same game
# After a change the main process is chosen again for this long: at exec it has no window.
SETTLE_S = 60.0
STORE_S = 3.5  # in which a store in Wine has started its helpers; asked after 3.75 s (DRAWING_AFTER_S, doubled)
MAX_GAMES = 64
MAX_GAMES_OF_USER = 16
MAX_CANDIDATES = 256  # processes of a game among which the main one is chosen
MAX_WAITING = 256  # processes that are asked again and again whether they draw
_MANY = 1000  # processes of which a look made objects
_LINEAGE = 64  # parents that were never seen and are read for one event


class Tracker:
    """The games of this machine."""

    def __init__(
        self,
        proc: ProcSource,
        data: DetectData,
        desktop_games: Entries | Mapping[str, str] | None = None,
    ) -> None:
        self._proc = proc
        self.data = data
        self._loaders = frozenset(data.wine_loaders)
        self._critical = frozenset(data.critical)
        self._relays = frozenset(data.relays)
        self.tree = Tree(())
        self._nodes: dict[int, Node] = {}
        self._dirty: dict[int, None] = {}  # to be read
        self._queue: dict[int, None] = {}  # to be evaluated
        self._ended: set[Identity] = set()  # by their exit events, since the last look
        self._explicit: dict[int, tuple[int, str]] = {}  # pid → (start, reason)
        self._hints: dict[int, tuple[int, str]] = {}
        self._began: dict[int, tuple[int, str]] = {}  # pid → (start, a desktop game's program)
        self._restored: dict[
            int, tuple[int, str]
        ] = {}  # marks whose processes have not been seen yet
        self._groups: dict[Identity, Game] = {}
        self._changed_groups: dict[Identity, Game] = {}
        self._prefix_games: dict[tuple[int, str], Game] = {}
        self._prefix_parts: dict[tuple[int, str], set[int]] = {}  # pids of parts of Wine
        self._of_app: dict[tuple[int, str], set[int]] = {}  # (uid, AppID in the environment) → pids
        self._latent: dict[int, None] = {}  # pids that have a class while a game runs
        self._waiting: dict[int, None] = {}  # pids that would be a game if they drew
        self._classes: dict[int, Assignment] = {}
        self._reclass: dict[int, None] = {}  # pids whose class is to be decided again
        self._removed: dict[int, None] = {}
        self._was_playing = False
        self._cpu_before: dict[Identity, int] = {}
        self._mounts = Mounts.of()
        self._ctx = Context(
            data=data,
            roles=RoleTable(data),
            entries=Entries.of({} if desktop_games is None else desktop_games),
            mounts=self._mounts,
            types=records.SteamTypes(self._mounts),
            explicit=self._explicit,
            hints=self._hints,
            began=self._began,
            draws=self._draws,
            settled=self._settled,
            prefix_game=self._prefix_game,
        )
        self.focus_pid = 0
        self.own_pid = 0  # the supervisor: CRITICAL whether or not a game runs
        self.age_s: Callable[[Process], float] = lambda _process: inf
        self.submitters: Callable[[], Container[int]] = tuple  # pids that call the GPU's driver now
        self.may_play: Callable[[int], bool] = lambda _uid: True
        self.refused: Counter[str] = Counter()  # games that were not made, by reason
        self.steps = 0  # evaluations so far: what looks cost

    # -- settings ----------------------------------------------------------------------------------

    @property
    def desktop_games(self) -> Entries:
        return self._ctx.entries

    @desktop_games.setter
    def desktop_games(self, found: Entries | Mapping[str, str]) -> None:
        self._ctx.entries = Entries.of(found)
        self.evaluate_all()

    @property
    def profile(self) -> Callable[[Process], str | None]:
        return self._ctx.profile

    @profile.setter
    def profile(self, match: Callable[[Process], str | None]) -> None:
        self._ctx.profile = match
        self.evaluate_all()

    def evaluate_all(self) -> None:
        """Evaluate every process again, because what rules know has changed."""
        self._queue.update(dict.fromkeys(self._nodes))

    # -- facts from outside ------------------------------------------------------------------------

    def exec_seen(self, pid: int) -> None:
        self._dirty[pid] = None

    def executed(self, pid: int, start_ticks: int, path: str) -> None:
        """A desktop entry's script may have become its engine before anybody reads `/proc`."""
        known = self._began.get(pid)
        if path in self._ctx.entries.programs and (known is None or known[0] != start_ticks):
            self._began[pid] = start_ticks, path
            self._dirty[pid] = None

    def marks(self) -> dict[str, dict[int, tuple[int, str]]]:
        """Return what the next supervisor cannot see: marks of the user, and programs that processes began as."""
        return {"explicit": dict(self._explicit), "began": dict(self._began)}

    def restore(self, marks: Mapping[str, Mapping[int, tuple[int, str]]]) -> None:
        """Take over the marks of the supervisor before; those of processes that are gone go with the first look."""
        self._explicit.update(marks["explicit"])
        self._began.update(marks["began"])
        self._restored |= {**marks["explicit"], **marks["began"]}

    def exit_seen(self, pid: int, start_ticks: int = -1) -> None:
        """`start_ticks`: of the process that ended, where the event knows; it may not look ended yet."""
        self._dirty[pid] = None
        known = self._nodes.get(pid)
        if known is not None and known.process.start_ticks == start_ticks:
            self._ended.add(known.process.identity)

    def fork_seen(self, parent: int, child: int, start_ticks: int) -> None:
        """A child of a game's process is in the game before anybody reads `/proc`."""
        known, inherited = self._nodes.get(parent), self._classes.get(parent)
        group = known.group if known is not None else None
        if (
            known is None
            or group is None
            or not group.running
            or inherited is None
            or inherited.class_name != GAME
        ):
            self._dirty[child] = None
            return
        self._remove(child)
        process = replace(
            known.process, pid=child, ppid=parent, start_ticks=start_ticks, cpu_ticks=0
        )
        facts = Facts(process, known.words, known.facts.role, parent=known.words)
        node = Node(process, facts, known.state, known.state, placed=True)
        self._nodes[child] = node
        self.tree.put(process)
        self._join(node, group, known.keeper and rules.marked(self._explicit, known.process) == "")
        self._classes[child] = replace(inherited, start_ticks=start_ticks)

    def add_explicit(self, pid: int, reason: str) -> bool:
        """`games add` and `exec`: False when there is no such process, or it is one that works in the background."""
        process = self._proc.read(pid)
        if process is None or self._facts(process).role == "background":
            return False
        self._ctx.ignored.discard(process.identity)
        return self._mark(self._explicit, pid, reason)

    def remove_explicit(self, pid: int) -> bool:
        """Take back what `add_explicit` said, or what a rule found: False when `pid` is in no game."""
        self._dirty[pid] = None
        node = self._nodes.get(pid)
        group = node.group if node is not None else None
        if group is not None and (not group.running or group.ended_s is not None):
            group = None
        if self._explicit.pop(pid, None) is not None:
            if group is not None and group.key[0] == pid:
                self._take_back(group)
            return True
        if group is None or group.key[0] in self._explicit:
            return False
        self._ctx.ignored.add(group.key)
        self._take_back(group)
        return True

    def _take_back(self, group: Game) -> None:
        """Nobody keeps it: its end is reported at once, without a grace."""
        group.ended_s = -GRACE_S
        self._changed_groups[group.key] = group
        for pid, _ in list(group.members):
            if (node := self._nodes.get(pid)) is not None:
                held = node.incoming.claim
                if held is not None and held.root.identity == group.key:
                    node.incoming = replace(node.incoming, claim=None)
                self._leave(node)
                self._queue[pid] = None

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

    # -- questions ---------------------------------------------------------------------------------

    @property
    def games(self) -> list[Game]:
        """Running games, oldest first."""
        return sorted(
            (g for g in self._groups.values() if g.running and g.ended_s is None),
            key=lambda g: g.since_s,
        )

    @property
    def unended(self) -> list[Game]:
        """Games that run, or ended so recently that they may come back."""
        return [g for g in self._groups.values() if g.running]

    @property
    def lingering(self) -> bool:
        """Return True if there is such a game."""
        return any(g.running for g in self._groups.values())

    @property
    def active(self) -> Game | None:
        """The focused game, else the most recent; one within its grace when there is no other."""
        running = self.games
        focused = self._nodes.get(self.focus_pid)
        if focused is not None and focused.group in running:
            return focused.group
        ending = sorted((g for g in self._groups.values() if g.running), key=lambda g: g.since_s)
        return running[-1] if running else (ending[-1] if ending else None)

    def game_of(self, process: Process) -> Game | None:
        node = self._nodes.get(process.pid)
        if node is None or node.process.identity != process.identity:
            return None
        return node.group if node.group is not None and node.group.running else None

    def node_of(self, process: Process) -> Node:
        """Return the node of a process, as it would be evaluated now."""
        node = self._nodes.get(process.pid)
        if node is not None and node.process.identity == process.identity:
            return node
        facts = self._facts(process)
        incoming = self._incoming(process, None)
        return Node(process, facts, incoming, rules.enter(incoming, facts, self._ctx))

    def context(self) -> Context:
        return self._ctx

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
            for pid in self._waiting
            if (node := self._nodes.get(pid)) is not None
            and node.words.program in self._loaders
            and not node.words.windows
        ]

    def waits_to_draw(self) -> list[int]:
        """Processes that are a game as soon as they draw."""
        return list(islice(self._waiting, MAX_WAITING))

    def ask_again(self) -> None:
        """Evaluate those that wait: a render node is opened long after the exec, and no event tells of it."""
        self._queue.update(dict.fromkeys(islice(self._waiting, MAX_WAITING)))

    @property
    def has_work(self) -> bool:
        """Return True if `update` has something to look at."""
        return bool(
            self._dirty or self._queue or self._changed_groups or self._reclass or self._removed
        )

    @property
    def next_deadline_s(self) -> float | None:
        """Return the time at which `update` must run again although nothing happens."""
        times = [
            g.ended_s + GRACE_S
            for g in self._groups.values()
            if g.running and g.ended_s is not None
        ]
        return min(times, default=None)

    def unsettled(self, now_s: float) -> bool:
        """Return True if the main process of a game may still change: something joined lately, or nothing draws yet."""
        return any(now_s - game.changed_s <= SETTLE_S for game in self.games)

    # -- looks -------------------------------------------------------------------------------------

    def look(self) -> Iterator[None]:
        """Read what has changed, one process each time it is asked, then evaluate that, one each time.
        Raises OSError when /proc cannot be listed; nothing has changed then.

        The garbage collector waits: a pass over the objects of 10 000 processes takes 16 ms in one piece, and none of
        them is in a cycle. It is told to leave them alone.
        """
        known, collects = len(self._nodes), gc.isenabled()
        gc.disable()
        try:
            yield from self._look()
        finally:
            if len(self._nodes) - known > _MANY:
                gc.freeze()
            if collects:
                gc.enable()

    def _look(self) -> Iterator[None]:
        self._mounts = self._ctx.mounts = Mounts.of()
        alive: set[int] = set()
        changed: dict[int, None] = {}
        for pid in self._proc.pids():
            alive.add(pid)
            node = self._nodes.get(pid)
            if node is None or not self._proc.is_same(node.process):
                self._read(pid, changed)
            yield
        self._dirty.update(dict.fromkeys(self._nodes.keys() - alive))
        self._drop_marks_of_the_dead()
        ignored = self._ctx.ignored
        ignored -= {
            one
            for one in ignored
            if one[0] not in self._nodes or self._nodes[one[0]].process.identity != one
        }
        self.ask_again()
        while changed:
            for pid in self._unplaced_lineage(changed.popitem()[0]):
                changed.pop(pid, None)
                self._place(pid)
                yield
            yield from self._evaluate()
        yield from self._evaluate()

    def _drop_marks_of_the_dead(self) -> None:
        """Forget restored marks of processes that ended, or whose pid another has, while nobody looked."""
        for pid in self._restored:
            node = self._nodes.get(pid)
            for marks in (self._explicit, self._began):
                if pid in marks and (node is None or marks[pid][0] != node.process.start_ticks):
                    del marks[pid]
        self._restored.clear()

    def reconcile(self, now_s: float) -> Change:
        """Know every process, in one go: at the start, periodically, and after lost events."""
        for _ in self.look():
            pass
        return self.commit(now_s)

    def update(self, now_s: float, more: Callable[[], bool] = lambda: True) -> Change:
        """Look at what events named since the last look, for as long as `more` says so; the rest stays for the next
        time, which `has_work` tells."""
        for _ in self._evaluate():
            if not more():
                break
        return self.commit(now_s)

    def _evaluate(self) -> Iterator[None]:
        """Read what is marked, and evaluate it and what follows from it. Newest first: popitem is the one way to take
        from a dict that costs the same however much was taken before."""
        while self._dirty or self._queue:
            while self._dirty:
                pid = self._dirty.popitem()[0]
                self._read(pid, self._queue)
                self._read_lineage(pid)
                yield
            if self._queue:
                for pid in self._unplaced_lineage(self._queue.popitem()[0]):
                    self._queue.pop(pid, None)
                    self._place(pid)
                    yield

    def _unplaced_lineage(self, pid: int) -> list[int]:
        """A process and those above it that wait to be evaluated, from the top: each is evaluated once."""
        chain, seen = [pid], {pid}
        node = self._nodes.get(pid)
        while node is not None:
            above = node.process.ppid
            if above in seen or above not in self._nodes or self._nodes[above].placed:
                break
            chain.append(above)
            seen.add(above)
            node = self._nodes[above]
        chain.reverse()
        return chain

    def _read(self, pid: int, queue: dict[int, None]) -> None:
        """Bring what is known of a process up to date; what is to be evaluated then goes to `queue`."""
        node = self._nodes.get(pid)
        process = self._proc.read(pid)
        if process is None or process.identity in self._ended:
            self._ended.discard(process.identity if process is not None else (0, 0))
            self._remove(pid)
            return
        if node is not None and node.process.identity != process.identity:
            self._remove(pid)
            node = None
        self.tree.put(process)
        # Without its text, of a user who has too much of it.
        process = self.tree.get(pid) or process
        if node is None:
            node = Node(process, self._facts(process))
            self._nodes[pid] = node
        else:
            self._forget_index(node)
            drew, front, web = node.facts.draws, node.facts.front, node.facts.web
            same = node.process.exe == process.exe
            node.process, node.facts = process, self._facts(process)
            node.facts.draws, node.facts.front = drew and same, front and same
            node.facts.web = web and same
        queue[pid] = None
        node.placed = False
        self._index(node)

    def _read_lineage(self, pid: int) -> None:
        """A parent that was never seen is read now: the event that named it was lost or came before us."""
        node, left = self._nodes.get(pid), _LINEAGE
        while (
            node is not None
            and node.process.ppid > 0
            and node.process.ppid not in self._nodes
            and left > 0
        ):
            parent = node.process.ppid
            self._read(parent, self._queue)
            node, left = self._nodes.get(parent), left - 1

    def _facts(self, process: Process) -> Facts:
        words = read_words(process.exe, process.argv, process.comm, self._loaders)
        role = "" if process.kthread else self._ctx.roles.role_of(words.name)
        above = self._nodes.get(process.ppid)
        if role == "wine_plumbing" and rules.is_elsewhere(words.windows):  # the same
            role = "launchers" if words.name in self.data.launchers else ""
        if not role and words.name.count(".") > 1:  # called by its whole id: com.example.Launcher
            short = self._ctx.roles.role_of(words.name.rpartition(".")[2])
            role = short if short == "launchers" else ""
        if role in ("tools", "commands") and not words.windows and rules.is_players(process.exe):
            role = ""  # another program of that name
        return Facts(process, words, role, parent=above.words if above is not None else Words())

    def _index(self, node: Node) -> None:
        """Tables by which a process is found later."""
        process, words = node.process, node.words
        named = words.name in self._critical or words.name in self._relays
        node.latent = ""
        if named and not process.kthread:
            node.latent = "relay" if words.name in self._relays else "critical"
            if not self._proc.is_roots(process, words.script):
                node.latent = "own relay" if node.latent == "relay" else ""
        if words.helper == "utility" and is_audio_service(process.argv):
            node.latent = "audio"
        if node.latent:
            self._latent[process.pid] = None
        else:
            self._latent.pop(process.pid, None)
        if node.facts.role == "critical" and not node.latent:
            node.facts.role = ""  # another program of that name
        if node.facts.role == "wine_plumbing":
            self._prefix_parts.setdefault(_prefix(process), set()).add(process.pid)
        if app_id := rules.env_app_id(process):
            self._of_app.setdefault((process.uid, app_id), set()).add(process.pid)

    def _forget_index(self, node: Node) -> None:
        process = node.process
        self._unindex(self._prefix_parts, _prefix(process), process.pid)
        self._unindex(self._of_app, (process.uid, rules.env_app_id(process)), process.pid)

    @staticmethod
    def _unindex(table: dict[tuple[int, str], set[int]], key: tuple[int, str], pid: int) -> None:
        pids = table.get(key)
        if pids is not None:
            pids.discard(pid)
            if not pids:
                del table[key]

    def _remove(self, pid: int) -> None:
        node = self._nodes.pop(pid, None)
        if node is None:
            return
        self._leave(node)
        for child in self.tree.children(pid):  # of whoever gets them: what they inherited stays
            orphan = self._nodes.get(child.pid)
            if orphan is not None:
                orphan.process = replace(child, ppid=1)
                orphan.facts.process = orphan.process
                self.tree.put(orphan.process)
        self.tree.remove(pid)
        for table in (self._latent, self._waiting, self._queue, self._reclass):
            table.pop(pid, None)
        self._forget_index(node)
        self._cpu_before.pop(node.process.identity, None)
        for marks in (self._explicit, self._hints, self._began):
            if pid in marks and marks[pid][0] == node.process.start_ticks:
                del marks[pid]
        claim = node.state.claim
        if (
            claim is not None
            and claim.root.identity == node.process.identity
            and claim.rule == "steam"
        ):
            self._ctx.reapers.pop((node.process.uid, claim.app_id), None)
        if self._classes.pop(pid, None) is not None:
            self._removed[pid] = None

    # -- one process -------------------------------------------------------------------------------

    def _incoming(self, process: Process, node: Node | None) -> rules.State:
        above = self._nodes.get(process.ppid)
        if above is not None and above.process.pid != process.pid and process.ppid > 1:
            return above.state
        return node.incoming if node is not None else NEUTRAL

    def _place(self, pid: int) -> None:
        """Evaluate one process, and mark its children if they inherit something else now."""
        node = self._nodes.get(pid)
        if node is None:
            self._waiting.pop(pid, None)
            return
        self.steps += 1
        node.placed = True
        above = self._nodes.get(node.process.ppid)
        node.facts.parent = above.words if above is not None else node.facts.parent
        node.incoming = self._incoming(node.process, node)
        self._waiting.pop(pid, None)
        before, state = node.state, rules.enter(node.incoming, node.facts, self._ctx)
        if state == before:
            state = before
        node.state = state
        self._note_helper(node, above)
        claim = state.claim
        if (
            claim is not None
            and claim.root.identity == node.process.identity
            and claim.rule == "steam"
        ):
            app = node.process.uid, claim.app_id
            if app not in self._ctx.reapers:  # those of this AppID that came before it
                self._queue.update(dict.fromkeys(self._of_app.get(app, ())))
            self._ctx.reapers[app] = claim
        if state is not before:
            for child in self.tree.children(pid):
                self._queue[child.pid] = None
        if node.words.program in self._loaders and not node.words.windows:
            self._waiting[pid] = None
        self._assign_group(node)
        if (
            node.group is not None
            or node.latent
            or pid in self._classes
            or node.facts.role == "background"
        ):
            self._reclass[pid] = None

    def _note_helper(self, node: Node, above: Node | None) -> None:
        """A browser engine's helper makes its parent a front end if it is the same program, of the same folder, or of
        a toolkit for windows; a game of Java's makes the Java program that started it one."""
        claim = node.state.claim
        java = (
            claim is not None
            and claim.rule in ("java", "profile")
            and node.words.interpreter == "java"
            and claim.root.identity == node.process.identity
        )
        if above is None or above.facts.front or above.words.helper:
            return
        if above.facts.role in ("wrappers", "commands", "wine_plumbing"):
            return
        if java and above.words.interpreter == "java":
            above.facts.front = True
        elif node.words.name in self.data.web_views or (
            node.words.helper and _folder(node) == _folder(above)
        ):
            above.facts.front = above.facts.web = True
        elif node.words.helper and not above.facts.web:
            above.facts.web = True
        else:
            return
        self._queue[above.process.pid] = None

    def _draws(self, facts: Facts) -> bool:
        """Return True if the process holds a render node; asked again later if it does not."""
        if not facts.draws:
            facts.draws = self._proc.has_render_node(facts.process.pid)
        if not facts.draws:
            self._waiting[facts.process.pid] = None
        return facts.draws

    def _settled(self, facts: Facts) -> bool:
        """Whether a Windows program runs for long enough: a store draws before a browser engine's helpers show it."""
        if self.age_s(facts.process) < STORE_S:
            self._waiting[facts.process.pid] = None
            return False
        return True

    def _prefix_game(self, process: Process) -> Decision | None:
        """Return the claim of the game that another program of the same Wine prefix keeps."""
        game = self._prefix_games.get(_prefix(process))
        if game is None or game.key == process.identity or not game.keepers - {process.identity}:
            return None
        return game.claim if game.key[0] not in self._nodes or self._claims(game) else None

    def _assign_group(self, node: Node) -> None:
        claim = node.state.claim
        if claim is None and node.facts.role == "wine_plumbing":
            game = self._prefix_games.get(_prefix(node.process))
            if game is not None and game.keepers:
                self._join(node, game, False)
                return
        if claim is None:
            self._leave(node)
            return
        key = claim.root.identity
        group = self._groups.get(key)
        if group is None or (group.ended_s is not None and group.ended_s < 0):
            group = self._groups[key] = Game(claim, claim.root, claim)
        elif group.claim is not claim and key == node.process.identity:
            group.claim = claim
            shown = group.decision
            group.decision = replace(claim, name=shown.name) if group.named_by_main else claim
        if (
            not self.may_play(node.process.uid)
            and claim.rule != "explicit"
            and not _is_container(node.process)
        ):
            self._join(node, group, False)
            return
        self._join(node, group, rules.keeps(node.facts, node.state, self._ctx))

    def _join(self, node: Node, group: Game, keeper: bool) -> None:
        identity = node.process.identity
        if node.group is not group:
            self._leave(node)
            node.group = group
            group.members.add(identity)
            self._reclass[node.process.pid] = None
        if node.words.windows or node.facts.role == "wine_plumbing":
            self._add_prefix(group, _prefix(node.process), keeper)
        if keeper == (identity in group.keepers):
            return
        node.keeper = keeper
        if keeper:
            group.keepers.add(identity)
            self._changed_groups[group.key] = group
            if node.words.windows:
                self._add_prefix(group, _prefix(node.process), True)
        else:
            self._drop_keeper(node, group)

    def _leave(self, node: Node) -> None:
        group = node.group
        if group is None:
            return
        node.group = None
        group.members.discard(node.process.identity)
        self._reclass[node.process.pid] = None
        self._drop_keeper(node, group)
        if not group.members and not group.running:
            self._forget(group)

    def _drop_keeper(self, node: Node, group: Game) -> None:
        node.keeper = False
        group.keepers.discard(node.process.identity)
        if not group.keepers or node.process.identity == group.main.identity:
            self._changed_groups[group.key] = group

    def _add_prefix(self, group: Game, prefix: tuple[int, str], keeper: bool) -> None:
        if keeper and prefix not in self._prefix_games:
            self._prefix_games[prefix] = group
            group.prefixes.add(prefix)
            self._queue.update(dict.fromkeys(self._prefix_parts.get(prefix, ())))

    def _forget(self, group: Game) -> None:
        if self._groups.get(group.key) is group:
            del self._groups[group.key]
        for prefix in group.prefixes:
            if self._prefix_games.get(prefix) is group:
                del self._prefix_games[prefix]
                for pid in self._prefix_parts.get(prefix, ()):
                    if (part := self._nodes.get(pid)) is not None and part.group is group:
                        self._queue[pid] = None

    # -- what follows ------------------------------------------------------------------------------

    def commit(self, now_s: float) -> Change:
        """Begin and end games, and give classes, after what was evaluated."""
        self._ended.clear()
        started: list[Game] = []
        ended: list[Game] = []
        changed, self._changed_groups = self._changed_groups, {}
        for group in self._groups.values():
            if group.running and group.ended_s is not None:
                changed.setdefault(group.key, group)
        for group in list(changed.values()):
            self._refresh(group, now_s, started, ended)
        playing = bool(self.games)
        if playing != self._was_playing:
            self._was_playing = playing
            self._reclass.update(self._latent)
        if self.own_pid in self._nodes:
            self._reclass[self.own_pid] = None
        return self._assign(tuple(started), tuple(ended), now_s)

    def _refresh(self, group: Game, now_s: float, started: list[Game], ended: list[Game]) -> None:
        """Notice that a game begins, goes on, ends, and that its grace is over."""
        if group.ended_s is not None and group.ended_s < 0:
            if group.running:
                group.running = False
                ended.append(group)
            self._forget(group)
            return
        if group.keepers:
            begins = not group.running
            if begins and not self._start(group, now_s, started):
                return
            if group.ended_s is not None:
                group.ended_s = None
                self._reclass.update(dict.fromkeys(pid for pid, _ in group.members))
            group.changed_s = now_s
            if begins or group.main.identity not in group.keepers:  # `settle` compares the others
                self._choose_main(group)
        elif group.running:
            if group.ended_s is None:
                group.ended_s = now_s
                self._reclass.update(dict.fromkeys(pid for pid, _ in group.members))
            withdrawn = group.key[0] in self._nodes and not self._claims(group)
            if withdrawn or now_s - group.ended_s >= GRACE_S:
                group.running = False
                ended.append(group)
                if not group.members:
                    self._forget(group)
        elif not group.members:
            self._forget(group)

    def _claims(self, group: Game) -> bool:
        """Return True if the root, which lives, still claims its tree."""
        node = self._nodes[group.key[0]]
        claim = node.state.claim
        return (
            claim is not None and claim.root.identity == group.key
        ) or node.process.identity != group.key

    def _start(self, group: Game, now_s: float, started: list[Game]) -> bool:
        heir = self._taken_over_by(group)
        if heir is not None:  # the same game in another tree: it never ended
            group.since_s = heir.since_s
            heir.running = False
            self._forget(heir)
        else:
            reason = self._refusal(group.decision.root.uid)
            if reason:
                self.refused[reason] += 1
                return False
            group.since_s = now_s
            started.append(group)
        group.running = True
        self._reclass.update(dict.fromkeys(pid for pid, _ in group.members))
        return True

    def _refusal(self, uid: int) -> str:
        games = [g for g in self._groups.values() if g.running]
        if len(games) >= MAX_GAMES:
            return f"{MAX_GAMES} games run"
        if sum(g.decision.root.uid == uid for g in games) >= MAX_GAMES_OF_USER:
            return f"{MAX_GAMES_OF_USER} games of user {uid} run"
        return ""

    def _taken_over_by(self, group: Game) -> Game | None:
        """An ended game within its grace that `group` continues."""
        wanted = _sameness(group.claim)
        for old in self._groups.values():
            if (
                old is not group
                and old.running
                and old.ended_s is not None
                and old.ended_s >= 0
                and (
                    _sameness(old.claim) == wanted
                    and old.decision.root.uid == group.decision.root.uid
                )
            ):
                return old
        return None

    # -- the main process --------------------------------------------------------------------------

    def settle(self, now_s: float) -> None:
        """Choose the main process of each game again."""
        before: dict[Identity, int] = {}
        for game in self.games:
            self._choose_main(game)
            for node in self._candidates(game):
                now = self._proc.read(node.process.pid, node.process)
                if now is not None:
                    before[node.process.identity] = now.cpu_ticks
        self._cpu_before = before

    def _candidates(self, game: Game) -> list[Node]:
        nodes = [
            n
            for pid, _ in islice(game.keepers, MAX_CANDIDATES)
            if (n := self._nodes.get(pid)) is not None
        ]
        main = self._nodes.get(game.main.pid)
        if main is not None and game.main.identity in game.keepers and main not in nodes:
            nodes.append(main)
        return nodes

    def _choose_main(self, game: Game) -> None:
        """Take the process that submits to the GPU, else draws, then most CPU since the last look, then the newest."""
        nodes = self._candidates(game)
        if not nodes:
            return
        if len(nodes) == 1:
            chosen = nodes[0]
        else:
            drawing = [n for n in nodes if self._draws(n.facts)]
            for node in nodes:
                self._waiting.pop(node.process.pid, None)
            submitters = self.submitters() if len(drawing) > 1 else ()
            submitting = [n for n in drawing if n.process.pid in submitters]
            wanted = submitting or drawing or nodes
            wanted = [
                n for n in wanted if not n.words.helper
            ] or wanted  # a browser engine's helpers draw for it
            chosen = max(wanted, key=self._activity)
        before, game.main = game.main, chosen.process
        other = (before.identity, before.argv) != (chosen.process.identity, chosen.process.argv)
        if (
            game.claim.rule == "proton" and not game.decision.app_id
        ):  # umu tells its child, not itself
            game.decision = replace(game.decision, app_id=rules.umu_id(chosen.process))
        if not game.decision.name or (game.named_by_main and other):
            game.named_by_main = True
            name = rules.name_of(chosen.process, chosen.words, self._mounts)
            game.decision = replace(game.decision, name=name)

    def _activity(self, node: Node) -> tuple[int, int, int]:
        now = self._proc.read(node.process.pid, node.process)
        ticks = now.cpu_ticks if now is not None else node.process.cpu_ticks
        used = ticks - self._cpu_before.get(node.process.identity, 0)
        return used, node.process.start_ticks, node.process.pid

    # -- classes -----------------------------------------------------------------------------------

    def _class_of(self, node: Node, playing: bool) -> tuple[str, str] | None:
        process, name = node.process, rules.shown(node.words.name)
        if process.pid == self.own_pid:
            return CRITICAL, "the supervisor: a game waits for its class while this waits for a CPU"
        if node.facts.role == "background":
            return BACKGROUND, f"{name} is listed under background"
        game = node.group
        own = game is not None and (
            (game.claim.rule == "steam" and rules.is_own(node.facts, game.claim))
            or (game.claim.rule == "desktop-entry" and self._is_named_by_entry(node, game))
        )
        if node.latent and playing and not own:  # a game may be called as a compositor
            if node.latent in ("critical", "relay"):
                what = "relays" if node.latent == "relay" else "critical"
                return CRITICAL, f"{name} is listed under {what}, and the file is root's alone"
            if any(g.decision.root.uid == process.uid for g in self.games):
                why = (
                    "plays and records sound"
                    if node.latent == "audio"
                    else "is listed under relays"
                )
                return GAME, f"{name} {why}, and is the player's own"
        if game is None or not game.running or game.ended_s is not None:
            return None
        if (
            not self.may_play(process.uid)
            and game.decision.rule != "explicit"
            and not _is_container(process)
        ):
            return None
        if node.words.program in WINESERVERS:
            return CRITICAL, f"wineserver of {_name(game)}: the game waits for it synchronously"
        if rules.is_aside(node.facts, node.state, self._ctx) and node.facts.role != "wine_plumbing":
            return None
        return GAME, f"in the tree of {_name(game)} by rule {game.decision.rule}"

    def _is_named_by_entry(self, node: Node, game: Game) -> bool:
        """Return True for the program of the game's entry, but for one that it became under another name."""
        start, began = self._ctx.began.get(node.process.pid, (-1, ""))
        became = start == node.process.start_ticks and file_name(began) != node.words.name
        return game.key == node.process.identity and not became

    def _assign(self, started: tuple[Game, ...], ended: tuple[Game, ...], now_s: float) -> Change:
        assigned: dict[int, Assignment] = {}
        pids, self._reclass = self._reclass, {}
        removed, self._removed = self._removed, {}
        playing = self._was_playing
        for pid in pids:
            node = self._nodes.get(pid)
            told = self._class_of(node, playing) if node is not None else None
            if node is None or told is None:
                if self._classes.pop(pid, None) is not None:
                    removed[pid] = None
                continue
            wanted = Assignment(told[0], node.process.start_ticks, told[1], now_s)
            if self._classes.get(pid) != wanted:
                self._classes[pid] = assigned[pid] = wanted
                removed.pop(pid, None)
        return Change(started, ended, assigned, tuple(removed))


def _prefix(process: Process) -> tuple[int, str]:
    """A Wine prefix: whose, and where. Processes without the variable share the user's default."""
    return process.uid, process.env.get("WINEPREFIX", "").rstrip("/")


def _folder(node: Node) -> str:
    path = node.words.windows.replace("\\", "/") or node.process.exe
    return path.rpartition("/")[0].lower()


def _is_container(process: Process) -> bool:
    """Return True if root started the container that a process lives in: its users are not the machine's."""
    return process.cgroup.startswith("/lxc.payload")


def _name(game: Game) -> str:
    return rules.shown(game.decision.name or game.decision.rule)


def _sameness(decision: Decision) -> tuple[str, str, str]:
    return decision.rule, decision.app_id, decision.name or decision.target
