# SPDX-License-Identifier: GPL-2.0-only
"""The games somebody named, each with its descendants, until its first process ends."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scx_gamer.loop import Loop
from scx_gamer.profiles import Game as Facts

log = logging.getLogger(__name__)

_MAX_GAMES = 64
_MAX_FACTS = 64  # processes of a game that are looked at for its profile
_MAX_PROCESSES = 4096  # descendants followed for one game


class GameError(Exception):
    """A process that cannot be made a game."""

    def __init__(self, what: str, errno: int = 0, hint: str = "") -> None:
        super().__init__(f"{what}: {hint}" if hint else what)
        self.what = what
        self.errno = errno
        self.hint = hint


class Sender(Protocol):
    """The part of Feed that is needed here."""

    def send(self, type_name: str, **fields: int) -> bool: ...


@dataclass
class Game:
    pid: int
    reason: str
    start_ns: int
    comm: str
    pidfd: int
    processes: dict[int, int] = field(default_factory=dict)  # tgid -> start_ns


def _stat(pid: int, proc: Path) -> tuple[int, int, str] | None:
    """Parent, start in nanoseconds of boot time, name; None for a process that is gone."""
    try:
        text = (proc / str(pid) / "stat").read_bytes()
        # the name may hold anything, parentheses and newlines too
        name, rest = text[text.index(b"(") + 1 :].rsplit(b")", 1)
        fields = rest.split()
        ticks = int(fields[19])
        return (
            int(fields[1]),
            ticks * (10**9 // os.sysconf("SC_CLK_TCK")),
            name.decode("utf-8", "replace"),
        )
    except (OSError, ValueError, IndexError):
        return None


def _facts(pid: int, proc: Path) -> Facts:
    """AppID, program and command line; empty for a process that is gone."""
    folder = proc / str(pid)
    try:
        exe = os.readlink(folder / "exe")
    except OSError:
        exe = ""
    argv = _nul_list(folder / "cmdline")
    appid = 0
    if "SteamLaunch" in argv:
        appid = next((_number(a[6:]) for a in argv if a.startswith("AppId=")), 0)
    return Facts(appid, exe, argv)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else 0


def _nul_list(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            data = file.read(65536)
    except OSError:
        return ()
    return tuple(data.decode("utf-8", "replace").rstrip("\0").split("\0"))


def descendants(root: int, proc: Path = Path("/proc")) -> dict[int, int]:
    """Every process below `root`, itself not included, with its start time."""
    children: dict[int, list[int]] = {}
    starts: dict[int, int] = {}
    for name in os.listdir(proc):
        if name.isdecimal():
            found = _stat(int(name), proc)
            if found is not None:
                children.setdefault(found[0], []).append(int(name))
                starts[int(name)] = found[1]
    result: dict[int, int] = {}
    todo = [root]
    while todo and len(result) < _MAX_PROCESSES:
        for child in children.get(todo.pop(), ()):
            if child not in result and child != root:
                result[child] = starts[child]
                todo.append(child)
    return result


class GameSet:
    """Tells the kernel about games, watches for their end by pidfd."""

    def __init__(
        self,
        loop: Loop,
        feed: Sender,
        class_game: int,
        on_change: Callable[[], None],
        proc: Path = Path("/proc"),
    ) -> None:
        self._loop = loop
        self._feed = feed
        self._class_game = class_game
        self._on_change = on_change
        self._proc = proc
        self.games: dict[int, Game] = {}
        self._owner: dict[int, Game] = {}  # any tgid of a game -> the game

    def add(self, pid: int, reason: str) -> Game:
        """Make `pid` and what it started a game; raises GameError. A second time: the same."""
        if pid in self.games:
            return self.games[pid]
        if len(self.games) >= _MAX_GAMES:
            raise GameError(f"{_MAX_GAMES} games are known already", hint="remove one")
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as err:
            raise GameError(f"no process {pid}", err.errno or 0, "it may have ended") from err
        found = _stat(pid, self._proc)  # after the pidfd: the two are of one process
        if found is None or pid <= 1:
            os.close(pidfd)
            raise GameError(f"process {pid} cannot be a game", hint="name the game's process")
        game = Game(pid, reason, found[1], found[2], pidfd)
        self._loop.add_fd(pidfd, lambda _fd: self._ended(pid), name=f"game {pid}")
        self.games[pid] = game
        self._follow(game, pid, found[1])
        for child, start_ns in descendants(pid, self._proc).items():
            self._follow(game, child, start_ns)
        log.info("game %d (%s): %s", pid, game.comm, reason)
        self._changed()
        return game

    def remove(self, pid: int, cause: str = "removed") -> bool:
        """Forget a game and its processes; False if it is none."""
        game = self.games.pop(pid, None)
        if game is None:
            return False
        self._loop.remove_fd(game.pidfd)
        os.close(game.pidfd)
        for tgid in game.processes:
            self._owner.pop(tgid, None)
            self._feed.send("CLASS_DEL", tgid=tgid)
        log.info("game %d (%s) ended: %s", pid, game.comm, cause)
        self._changed()
        return True

    def _ended(self, pid: int) -> None:
        self.remove(pid, "the process is gone")

    def _follow(self, game: Game, tgid: int, start_ns: int) -> None:
        if tgid in self._owner or len(game.processes) >= _MAX_PROCESSES:
            return
        game.processes[tgid] = start_ns
        self._owner[tgid] = game
        self._tell(tgid)

    def _tell(self, tgid: int) -> None:
        # The start time that /proc gives is rounded to clock ticks and the kernel compares it
        # exactly: 0 says "not known", and an exit event takes a dead tgid out.
        self._feed.send("CLASS_SET", tgid=tgid, class_id=self._class_game)

    def on_fork(self, parent: int, child: int, start_ns: int) -> None:
        """A process of a game made another."""
        game = self._owner.get(parent)
        if game is not None:
            self._follow(game, child, start_ns)

    def on_exit(self, tgid: int) -> None:
        """A process as a whole ended. The game's first one is watched by its pidfd."""
        game = self._owner.get(tgid)
        if game is not None and tgid != game.pid:
            del self._owner[tgid]
            game.processes.pop(tgid, None)
            self._feed.send("CLASS_DEL", tgid=tgid)

    def _changed(self) -> None:
        self._feed.send("GAME_ACTIVE", value=int(bool(self.games)))
        self._on_change()

    def tell_all(self) -> None:
        """Everything again, for a new generation."""
        for tgid in list(self._owner):
            self._tell(tgid)
        self._feed.send("GAME_ACTIVE", value=int(bool(self.games)))

    def listing(self) -> list[dict[str, object]]:
        return [
            {
                "pid": game.pid,
                "comm": game.comm,
                "reason": game.reason,
                "processes": len(game.processes),
            }
            for game in self.games.values()
        ]

    def facts(self) -> list[Facts]:
        """What profiles are matched against: every process of every game, the newest game first."""
        found: list[Facts] = []
        for game in reversed(self.games.values()):
            found += [_facts(tgid, self._proc) for tgid in list(game.processes)[:_MAX_FACTS]]
        return found

    def close(self) -> None:
        for game in self.games.values():
            self._loop.remove_fd(game.pidfd)
            os.close(game.pidfd)
        self.games.clear()
        self._owner.clear()
