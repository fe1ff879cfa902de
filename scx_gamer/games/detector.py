# SPDX-License-Identifier: GPL-2.0-or-later
"""The game detector: process events in, classes in the kernel's map out, and why."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

from scx_gamer.config import settings
from scx_gamer.games import desktop, userfiles
from scx_gamer.games import lists as detect
from scx_gamer.games.exec_filter import ExecFilter, names_to_tell
from scx_gamer.games.explain import boost_of, explain, facts, listing
from scx_gamer.games.kernel_maps import KernelMaps
from scx_gamer.games.marks import MarkFile
from scx_gamer.games.model import BACKGROUND, Change, Game, program_of
from scx_gamer.games.proc import Process, ProcFs
from scx_gamer.games.process_events import GpuOpens, Poll, ProcConnector
from scx_gamer.games.rules import RANKS, shown
from scx_gamer.games.threads import ThreadRoleMonitor, rows
from scx_gamer.games.tracker import Tracker
from scx_gamer.observe.observer import Event, Observer
from scx_gamer.profiles import Game as Facts
from scx_gamer.profiles import ProfileSet
from scx_gamer.system import logind
from scx_gamer.system.errors import ScxGamerError
from scx_gamer.system.loop import Loop, Timer
from scx_gamer.system.procfs import boot_id

log = logging.getLogger(__name__)

RECONCILE_S = 30.0
LOOK_S = 0.003  # of it at a time
THREADS_AFTER_S = 0.5  # the game has its class then, and its start is over
QUIET_S, QUIET_MAX_S = 0.05, 0.5  # before the main process is chosen again
SETTLE_EVERY_S = 2.0
ARGUMENTS_EVERY_S, ARGUMENTS_FOR_S = 0.1, 1.5
DRAWING_AFTER_S = 0.25  # and twice as long each time
OPENED_S = 0.2  # after a GPU was opened: the descriptor is there, and a loader that only enumerates has closed it
SEATS_S = 15.0  # after which logind is asked again whether a user has a seat
MAX_USERS = 1024
HINTS = ("focus", "game", "game-gone")
_HOOKS = ("on_exec", "on_exit", "on_fork")
_NS = 10**9
TICK_NS = _NS // os.sysconf("SC_CLK_TCK")


class GameError(ScxGamerError):
    """A process that cannot be made a game."""


def shipped_data() -> tuple[detect.DetectData, str]:
    """The lists of `detect.toml` and its drop-ins; without the drop-ins, and why, when one is broken."""
    vendor = settings.vendor_file().parent / "detect.toml"
    try:
        return detect.load(vendor, sorted((settings.config_dir() / "detect.d").glob("*.toml"))), ""
    except detect.DetectDataError as err:
        data = detect.load(vendor)
        log.error("drop-ins of detect.d are not used: %s", err)
        return data, str(err)


class GameDetector:
    """Owns the tracker, the source of events and the pidfds of the games' roots."""

    def __init__(
        self,
        loop: Loop,
        observe: Observer,
        on_change: Callable[[], None],
        *,
        source: str = "auto",
        detection: bool = True,
        all_users: bool = False,
        state: Path | None = None,
        proc: ProcFs | None = None,
    ) -> None:
        self._loop = loop
        self._on_change = on_change
        self._proc = proc or ProcFs()
        self._observe = observe
        self.threads = ThreadRoleMonitor(observe)
        self._kernel = KernelMaps(observe.feed, observe.maps, observe.abi, observe.control)
        self._detection = detection
        self.data, self.data_error = shipped_data()
        self.tracker = Tracker(self._proc, self.data if detection else detect.DetectData())
        self.tracker.own_pid = os.getpid()
        self.tracker.may_play = self._may_play
        self.tracker.age_s = _age_s
        self.tracker.submitters = self.threads.submitters
        self._marks = MarkFile(state / "marks.json", boot_id()) if state is not None else None
        if self._marks is not None:
            self.tracker.restore(self._marks.read())
        self._profile_names: frozenset[str] = frozenset()
        self._names = ExecFilter({}, "")
        self._desktop_seen: tuple[object, ...] = ()
        self._look: Iterator[bool] | None = None
        self._upkeep: Iterator[None] = iter(())
        # Who waits to draw, and the delay.
        self._drawing: tuple[frozenset[int], float] = (frozenset(), 0.0)
        # User → until when that is taken as known, has a seat.
        self._seats: dict[int, tuple[float, bool]] = {}
        self._all_users = all_users
        self._refused = 0
        self._exec_ns: dict[int, int] = {}
        self._arguments_until: dict[int, float] = {}
        self._pidfds: dict[int, int] = {}  # root pid → pidfd
        self._was_active = False
        self._lost_seen = 0
        self._timers: dict[str, Timer] = {}
        self._settle_by = 0.0
        self.by_rule: Counter[str] = Counter(dict.fromkeys(RANKS, 0))
        self.reconciles = 0
        self.hints: Counter[str] = Counter(dict.fromkeys(("focus", "game", "game-gone"), 0))
        self.losses = 0
        self.source = ""
        self.source_why = ""
        with ExitStack() as stack:
            stack.callback(self._close_pidfds)
            stack.callback(self.threads.close)
            self._open_source(observe, source, stack)
            self._gpu_opens = GpuOpens(loop, self._gpu_opened)
            stack.callback(self._gpu_opens.close)
            self._stack = stack.pop_all()

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Look at every process once, then listen."""
        self._loop.at_pass_end(self._pass)
        self._look_at_all()
        while self._look is not None:
            self._read_some()

    def _open_source(self, observe: Observer, wanted: str, stack: ExitStack) -> None:
        missing = [h for h in _HOOKS if h not in observe.hooks]
        if wanted in ("auto", "bpf") and not missing:
            self.source = "bpf"
            observe.on("EXEC", self._on_exec)
            observe.on("RENAME", lambda e: self.exec_seen(int(e["tgid"]), 0))
            observe.on("FORK", self._on_fork)
            observe.on("EXIT", self._on_exit)
            return
        why = f"without {', '.join(missing)}" if missing else f"{wanted} was asked for"
        if wanted != "poll":
            try:
                connector = ProcConnector(self._loop, self)
                stack.callback(connector.close)
                self.source, self.source_why = "netlink", why
                log.warning("process events come from the proc connector: %s", why)
                return
            except OSError as err:
                why = f"{why}; no proc connector: {err.strerror}"
        poll = Poll(self._loop, self, self._proc.pids)
        stack.callback(poll.close)
        self.source, self.source_why = "poll", why
        log.warning("processes are polled every second: %s", why)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._stack.close()

    def _close_pidfds(self) -> None:
        for fd in self._pidfds.values():
            self._loop.remove_fd(fd)
            os.close(fd)
        self._pidfds.clear()

    def _open_threads(self) -> None:
        if self.tracker.games:
            self.threads.open()

    def _later(self, name: str, delay_s: float, call: Callable[[], None]) -> None:
        """One timer of a name at a time; an earlier one stays."""

        def due() -> None:
            del self._timers[name]
            call()

        if name not in self._timers:
            self._timers[name] = self._loop.call_later(delay_s, due, name=f"games: {name}")

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    # -- events ------------------------------------------------------------------------------------

    def exec_seen(self, pid: int, time_ns: int) -> None:
        if time_ns:
            self._exec_ns[pid] = time_ns
        self.tracker.exec_seen(pid)

    def fork_seen(self, parent: int, child: int) -> None:
        if parent in self.tracker.classes:
            self.tracker.exec_seen(child)

    def exit_seen(self, pid: int) -> None:
        self._exec_ns.pop(pid, None)
        self.tracker.exit_seen(pid)

    def events_lost(self) -> None:
        self.losses += 1
        self._later("after a loss", QUIET_S, self._look_at_all)

    def _on_exec(self, event: Event) -> None:
        pid = int(event["tgid"])
        self.tracker.executed(pid, int(event["start_ns"]) // TICK_NS, str(event["filename"]))
        self.exec_seen(pid, int(event["time_ns"]))

    def _on_fork(self, event: Event) -> None:
        start_ticks = int(event["start_ns"]) // TICK_NS
        self.tracker.fork_seen(int(event["parent_tgid"]), int(event["tgid"]), start_ticks)

    def _on_exit(self, event: Event) -> None:
        pid = int(event["tgid"])
        self._exec_ns.pop(pid, None)
        self.tracker.exit_seen(pid, int(event["start_ns"]) // TICK_NS)
        if pid == self.tracker.focus_pid:
            self.tracker.focus_pid = 0
            self._tell_focus()

    def hint(self, source: str, pid: int, kind: str) -> bool:
        """A hint from a user session: `focus` (pid 0: nobody knows), `game` or `game-gone`. False when it says nothing
        that can be used. Focus never attaches, detaches or changes a class."""
        self.hints[kind] += 1
        if kind == "focus":
            process = self.tracker.read(pid) if pid else None
            self.tracker.focus_pid = process.pid if process is not None else 0
            if process is not None:  # so that its end is told
                self._kernel.follow_alone(pid, process.start_ticks * TICK_NS)
                self.tracker.exec_seen(pid)  # nothing may have told of it before
            self._tell_focus()
            return process is not None or pid == 0
        if kind == "game":
            known = pid in self.tracker.classes
            marked = self.tracker.add_hint(pid, source)
            if marked and not known:
                self._look_at_all()  # what it started before now, nobody has told of
            return marked
        if kind == "game-gone":
            self.tracker.remove_hint(pid)
            return True
        return False

    def use_profiles(self, profiles: ProfileSet) -> None:
        """A program that a profile names by its file or command line is a game: rule `profile`."""
        named = {name: p for name, p in profiles.profiles.items() if p.match.exe or p.match.cmdline}
        only = ProfileSet(named)

        def match(process: Process) -> str | None:
            found = only.find([Facts(0, process.exe, process.argv)])
            return (
                f"profile {found.profile.name} names its {found.how} {found.what}"
                if found
                else None
            )

        self.tracker.profile = match if named else (lambda _process: None)
        exes = (name for p in named.values() for name in p.match.exe)
        self._profile_names = frozenset(name.rsplit("/", 1)[-1] for name in exes if "*" not in name)
        self._tell_names()

    # -- looks -------------------------------------------------------------------------------------

    def _pass(self) -> None:
        """At the end of each pass of the loop: what its events changed."""
        now_s = time.monotonic()
        deadline = self.tracker.next_deadline_s
        if self.tracker.has_work or (deadline is not None and now_s >= deadline):
            until_s = now_s + LOOK_S
            self._apply(self.tracker.update(now_s, lambda: time.monotonic() < until_s))
            self._wait_for_arguments(now_s)
            self._wait_for_drawing()
            if self.tracker.unsettled(now_s):
                self._settle_soon(now_s)
            if self.tracker.has_work:
                self._later("more", 0, lambda: None)
        deadline = self.tracker.next_deadline_s
        if deadline is not None:
            self._later("grace", max(0.0, deadline - now_s) + 0.001, lambda: None)

    def _settle_soon(self, now_s: float) -> None:
        """After a quiet moment, however long events go on."""
        if "settle" not in self._timers:
            self._settle_by = now_s + QUIET_MAX_S
        self._cancel("settle")
        delay = min(QUIET_S, max(0.0, self._settle_by - now_s))
        self._later("settle", delay, self._settle)

    def _settle(self) -> None:
        now_s = time.monotonic()
        self.tracker.settle(now_s)
        if self.tracker.unsettled(now_s):
            self._settle_by = now_s + SETTLE_EVERY_S
            self._later("settle", SETTLE_EVERY_S, self._settle)

    def _wait_for_arguments(self, now_s: float) -> None:
        waiting = set(self.tracker.waits_for_arguments())
        for pid in self._arguments_until.keys() - waiting:
            del self._arguments_until[pid]
        for pid in waiting:
            self._arguments_until.setdefault(pid, now_s + ARGUMENTS_FOR_S)
        if any(until > now_s for until in self._arguments_until.values()):
            self._later("arguments", ARGUMENTS_EVERY_S, self._look_at_arguments)

    def _look_at_arguments(self) -> None:
        now_s = time.monotonic()
        for pid, until in self._arguments_until.items():
            if until > now_s:
                self.tracker.exec_seen(pid)

    def _wait_for_drawing(self) -> None:
        """Ask processes that are a game once they draw, at growing intervals: no event tells that a node was opened."""
        waiting = frozenset(self.tracker.waits_to_draw())
        known, _ = self._drawing
        if waiting - known:
            self._cancel("drawing")
            self._drawing = waiting, DRAWING_AFTER_S
        if waiting:
            self._later("drawing", self._drawing[1], self._ask_who_draws)

    def _ask_who_draws(self) -> None:
        waiting, delay_s = self._drawing
        self._drawing = waiting, min(2 * delay_s, RECONCILE_S)
        self.tracker.ask_again()

    def _gpu_opened(self) -> None:
        """A program that nothing else tells of draws now, perhaps: look at all sooner."""
        self._later("opened", OPENED_S, self._look_after_open)

    def _look_after_open(self) -> None:
        if self._look is not None:  # it may have passed by that process already
            self._later("opened", OPENED_S, self._look_after_open)
        else:
            self._look_at_all()

    def _may_play(self, uid: int) -> bool:
        """Return True for root, for users with a seat of this machine, and where nobody knows of seats."""
        if uid == 0 or self._all_users:
            return True
        now_s = time.monotonic()
        known = self._seats.get(uid)
        if known is None or known[0] < now_s:
            if len(self._seats) >= MAX_USERS:
                self._seats.clear()
            known = self._seats[uid] = now_s + SEATS_S, logind.has_seat(uid) is not False
        return known[1]

    def tick(self) -> None:
        """Look at what no event tells: the kernel's count of lost events, and threads. Once a second."""
        lost = self._kernel.events_lost()
        if lost != self._lost_seen:
            self._lost_seen = lost
            self.events_lost()
        self.threads.tick()

    def _look_at_all(self) -> None:
        """In pieces, so that nothing else of the loop waits for a machine with a thousand processes."""
        self._gpu_opens.watch()
        self._look = self._steps()
        self._cancel("reconcile")
        self._later("reconcile", 0, self._read_some)

    def _steps(self) -> Iterator[bool]:
        """One desktop entry or process each time it is asked; True when the kernel is to be told other names."""
        if self._detection:
            places, seen = _desktop()
            if seen != self._desktop_seen:
                found = desktop.Entries()
                for _ in desktop.read_entries(places, found):
                    yield False
                self._desktop_seen = seen
                self.tracker.desktop_games = found
                yield True
        for _ in self.tracker.look():
            yield False

    def _read_some(self) -> None:
        try:
            change, other_names = self._loop.run_interruptible(self._read_on)
        except OSError as err:  # no descriptor is left, or no /proc: what is known stays
            log.warning("no look at the processes, the next in %g s: %s", RECONCILE_S, err)
            self._look = None
            self._later("reconcile", RECONCILE_S, self._look_at_all)
            return
        if other_names:
            self._tell_names()
        if change is None:
            self._later("reconcile", LOOK_S, self._read_some)
            return
        self._look = None
        self._reconciled(change)

    def _read_on(self) -> tuple[Change | None, bool]:
        """The entries and processes that have their turn; with the last of them, what is to change. It tells the
        kernel nothing."""
        until_s = time.monotonic() + LOOK_S
        for other_names in self._look or ():
            if other_names or time.monotonic() >= until_s:
                return None, other_names
        return self.tracker.commit(time.monotonic()), False

    def _reconciled(self, change: Change) -> None:
        self.reconciles += 1
        tree = self.tracker.tree
        self._upkeep = chain(
            self._kernel.sweep(tree), self._kernel.follow_launchers(tree, self._names)
        )
        self._keep_up()
        self._apply(change)
        now_s = time.monotonic()
        self._wait_for_arguments(now_s)
        self._wait_for_drawing()
        if self.tracker.games:  # who draws may have changed, however old the game is
            self._settle_soon(now_s)
        self._tell_refusals()
        self._keep_marks()
        self._cancel("reconcile")
        self._later("reconcile", RECONCILE_S, self._look_at_all)

    def _keep_up(self) -> None:
        """Bring the kernel's maps up to date with a look, in pieces."""
        until_s = time.monotonic() + LOOK_S
        for _ in self._upkeep:
            if time.monotonic() >= until_s:
                self._later("upkeep", LOOK_S, self._keep_up)
                return

    def _keep_marks(self) -> None:
        if self._marks is not None:
            self._marks.write(self.tracker.marks())

    def _tell_refusals(self) -> None:
        refused = self.tracker.refused.total()
        if refused > self._refused:
            self._refused = refused
            log.warning("games are not counted: %s", "; ".join(self.tracker.refused))

    def _tell_names(self) -> None:
        """The kernel's table of names, when the desktop entries or the profiles changed."""
        if not self._detection:
            return
        self._names = names_to_tell(
            self.data,
            (*sorted(self.tracker.desktop_games.names), *self._profile_names),
            self._kernel.report,
            self._kernel.tree,
            self._kernel.max_names,
        )
        self._kernel.tell_names(self._names)

    # -- what follows ------------------------------------------------------------------------------

    def _apply(self, change: Change) -> None:
        """Classes first and at once: all that others make of a new game takes longer than that."""
        for pid in change.removed:
            alive = self.tracker.tree.get(pid) is not None
            if alive or self.source != "bpf":  # the kernel's exit hook has taken out a dead one
                self._kernel.class_del(pid)
        for pid, assignment in change.assigned.items():
            exec_ns = self._exec_ns.get(pid, 0)
            self._kernel.class_set(
                pid, assignment.class_name, assignment.start_ticks * TICK_NS, exec_ns
            )
            if assignment.class_name == "GAME":
                self._kernel.follow(pid, assignment.start_ticks * TICK_NS)
        self._exec_ns.clear()
        active = bool(self.tracker.games)
        if active != self._was_active:
            self._was_active = active
            self._kernel.game_active(active)
            if active:
                self._later("threads", THREADS_AFTER_S, self._open_threads)
        self._kernel.flush()
        for game in change.started:
            self._began(game)
        for game in change.ended:
            self._ended(game)
        if not self.tracker.lingering:
            self.threads.close()
        if change.assigned or change.removed:
            self._tell_focus()
        if change.started or change.ended:
            self._keep_marks()
            self._on_change()

    def _began(self, game: Game) -> None:
        root = game.decision.root
        self.by_rule[game.decision.rule] += 1
        for pid, start in game.members:
            self._kernel.follow(pid, start * TICK_NS)
        try:
            fd = os.pidfd_open(root.pid)
        except OSError:  # it ended; the exit event or the next look says so
            pass
        else:
            self._pidfds[root.pid] = fd
            self._loop.add_fd(fd, lambda _fd: self._root_ended(root.pid), name=f"game {root.pid}")
        evidence = "; ".join(game.decision.evidence)
        log.info(
            "game %s (pid %d): rule %s: %s",
            game.decision.name,
            root.pid,
            game.decision.rule,
            evidence,
        )

    def _root_ended(self, pid: int) -> None:
        self._drop_pidfd(pid)
        self.tracker.exit_seen(pid)

    def _drop_pidfd(self, pid: int) -> None:
        fd = self._pidfds.pop(pid, None)
        if fd is not None:
            self._loop.remove_fd(fd)
            os.close(fd)

    def _ended(self, game: Game) -> None:
        self._drop_pidfd(game.decision.root.pid)
        log.info("game %s (pid %d) ended", game.decision.name, game.decision.root.pid)

    def _tell_focus(self) -> None:
        pid = self.tracker.focus_pid
        process = self.tracker.read(pid) if pid else None
        if process is None:
            pid = self.tracker.focus_pid = 0
        away = process is not None and self.tracker.game_of(process) is None
        self._kernel.focus(pid, away)

    def tell_all(self) -> None:
        """Everything again, for a new generation."""
        for pid, assignment in self.tracker.classes.items():
            self._kernel.class_set(pid, assignment.class_name, assignment.start_ticks * TICK_NS, 0)
        self._kernel.game_active(bool(self.tracker.games))
        self._kernel.forget_focus()
        self._tell_focus()

    # -- what is asked -----------------------------------------------------------------------------

    def add(self, pid: int, reason: str) -> None:
        """Make `pid` and what it started a game; raises GameError. A second time: the same."""
        if pid <= 1:
            raise GameError(f"process {pid} cannot be a game", hint="name the game's process")
        if not self.tracker.add_explicit(pid, reason):
            raise GameError(
                f"no process {pid}",
                hint="it may have ended, be the kernel's own, or work in the background",
            )
        self._apply(self.tracker.update(time.monotonic()))
        self._look_at_all()  # what it started before now, nobody has told of

    def remove(self, pid: int) -> bool:
        """Take back what add said, or what a rule found; False if `pid` is in no game."""
        if not self.tracker.remove_explicit(pid):
            return False
        self._apply(self.tracker.update(time.monotonic()))
        return True

    @property
    def wanted(self) -> bool:
        """True if a game runs, or ended so recently that it may come back."""
        return self.tracker.lingering

    def unended(self) -> list[Game]:
        """Return the games that run, or ended so recently that they may come back."""
        return self.tracker.unended

    def held_back(self) -> frozenset[str]:
        """Return the programs whose class is background."""
        tracker = self.tracker
        pids = (pid for pid, given in tracker.classes.items() if given.class_name == BACKGROUND)
        found = (process for pid in pids if (process := tracker.tree.get(pid)) is not None)
        return frozenset(shown(program_of(tracker.node_of(process).words)) for process in found)

    def pids(self) -> set[int]:
        """Every process of every game that runs."""
        return {pid for game in self.tracker.games for pid, _ in game.members}

    def explain(self, pid: int) -> dict[str, object]:
        """The schema of `games explain --json`."""
        answer = explain(self.tracker, pid, time.monotonic())
        if "class" in answer:
            name = str(answer["class"])
            boost = boost_of(name, self._observe, self.tracker.focus_pid)
            now_ns = time.monotonic_ns()
            answer["boost"] = boost
            answer["threads_earlier"] = self.threads.asked()
            answer["threads"] = rows(pid, name, boost, self.data, self.threads.watch, now_ns)
        return answer

    def listing(self) -> list[dict[str, object]]:
        """The schema of `games list --json`."""
        return listing(self.tracker, time.monotonic())

    def facts(self) -> list[Facts]:
        """Return the facts that profiles are matched against."""
        return facts(self.tracker)

    def status(self) -> dict[str, object]:
        """The schema of `detection` in `status --json`."""
        return {
            "source": self.source,
            "why": self.source_why,
            "filter": "names" if self.source == "bpf" and not self._names.unfiltered else "none",
            "filter_why": self._names.unfiltered,
            "names": len(self._names.flags),
            "desktop_games": len(self.tracker.desktop_games),
            "processes_known": len(self.tracker.tree),
            "classes": dict(Counter(a.class_name.lower() for a in self.tracker.classes.values())),
            "by_rule": dict(self.by_rule),
            "hints": dict.fromkeys(HINTS, 0) | self.hints,
            "focus_pid": self.tracker.focus_pid,
            "reconciles": self.reconciles,
            "losses": self.losses,
            "data_error": self.data_error,
            "entries_refused": self.tracker.desktop_games.refused,
            "games_refused": dict(self.tracker.refused),
            **self.threads.status(),
        }


def _age_s(process: Process) -> float:
    """Seconds since a process started, by the clock of its start."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - process.start_ticks * TICK_NS / _NS


def _desktop() -> tuple[list[desktop.Place], tuple[tuple[str, int], ...]]:
    """List the folders of desktop entries, and when each changed."""
    mounts = userfiles.Mounts.of()
    places = desktop.folders(mounts)
    return places, tuple(_stamp(place, mounts) for place in places)


def _stamp(place: desktop.Place, mounts: userfiles.Mounts) -> tuple[str, int]:
    path = userfiles.resolve(place.path, mounts)
    try:
        return place.path, os.lstat(path).st_mtime_ns if path else 0
    except OSError:
        return place.path, 0
