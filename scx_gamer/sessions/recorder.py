# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorder: it turns the games that run into records, and writes those that run every few seconds."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from scx_gamer.sessions import SessionError
from scx_gamer.sessions.database import Database, Sample, open_for_writing
from scx_gamer.sessions.record import (
    ENDED,
    FAVOURED,
    MAX_TEXT,
    RUNNING,
    STOPPED,
    Figures,
    Reading,
    Session,
    figures,
    merged,
)
from scx_gamer.system.loop import NO_TIMER
from scx_gamer.system.text import printable

if TYPE_CHECKING:
    from scx_gamer.system.loop import Loop

log = logging.getLogger(__name__)

MAX_RUNNING = 16  # sessions that are recorded at once; further games are counted as refused
_MAX_WAITING = 64  # ended sessions that wait until they can be written
Key = tuple[int, int]  # pid and start of the game's root


@dataclass(frozen=True)
class Playing:
    """A game that runs. Times are on CLOCK_MONOTONIC; `ended_s` returns one once its processes are gone."""

    key: Key
    uid: int
    name: str
    app_id: str
    since_s: float
    ended_s: Callable[[], float | None]


@dataclass(frozen=True)
class Limits:
    """Age in days and size in bytes of what is kept, and the seconds from one write to the next."""

    days: int
    size: int
    every_s: float


class FrameCounts(Protocol):
    """Frames of the games that run, by the key of the game."""

    def figures(self, key: Key) -> Figures | None:
        """Return `frames` of a record; None without a source."""
        ...

    def lately(self, key: Key) -> Mapping[str, float]:
        """Return the fields of a sample since the last call; empty without a source."""
        ...


class Recorder:
    """The sessions that run. `read` gives the supervisor's figures of now.

    The database is open while a session runs, so that nothing of it is held at rest. An error of it is logged once and
    counted; the session goes on and is written again with the next write.
    """

    def __init__(
        self,
        loop: Loop,
        path: Path,
        limits: Limits,
        read: Callable[[], Reading],
        frames: FrameCounts,
    ) -> None:
        self._loop, self._path, self._limits = loop, path, limits
        self._read, self._frames = read, frames
        self._running: dict[Key, tuple[Playing, Session]] = {}
        self._ended: deque[tuple[Session, str, float]] = deque(maxlen=_MAX_WAITING)
        self._db: Database | None = None
        self._timer = NO_TIMER
        self._sampled: Reading | None = None  # the reading of the last sample
        self._refused_keys: set[Key] = set()
        self.error = ""  # of the last write; empty if it worked
        self.recorded = self.write_errors = self.refused = 0
        self.write_max_ns = 0
        self.last_ended = 0  # id of the newest session that ended

    @property
    def ids(self) -> set[int]:
        """The records that run."""
        return {session.id for _, session in self._running.values() if session.id}

    # ---- games -----------------------------------------------------------------------------------

    def update(self, playing: Iterable[Playing]) -> None:
        """Begin and end sessions; call it whenever a game began or ended, or the scheduler came or went."""
        found = {one.key: one for one in playing}
        self._refused_keys &= found.keys()
        gone = self._running.keys() - found.keys()
        began = found.keys() - self._running.keys()
        if not self._running and not began:
            return
        now = self._advance()
        for key in gone:
            self._end(key, now, ENDED)
        for key in began:
            self._begin(found[key], now)
        if self._ended:
            self._write(None)
        if self._running and not self._timer.pending:
            self._sampled = now
            self._timer = self._loop.call_later(self._limits.every_s, self._tick, name="sessions")
        elif not self._running:
            self._rest()

    def close(self) -> None:
        """End all sessions, because the supervisor ends."""
        if self._running:
            now = self._advance()
            for key in list(self._running):
                self._end(key, now, STOPPED)
            self._write(None)
        self._rest()

    def _begin(self, game: Playing, now: Reading) -> None:
        if len(self._running) >= MAX_RUNNING:
            if game.key not in self._refused_keys:
                self._refused_keys.add(game.key)
                self.refused += 1
            return
        session = Session(
            uid=game.uid,
            game=printable(game.name, MAX_TEXT),
            app_id=printable(game.app_id, MAX_TEXT),
            began=int(time.time() - max(0.0, now.time_s - game.since_s)),
            since_s=game.since_s,
            base=now,
            last=now,
            profile=now.profile,
        )
        self._running[game.key] = game, session

    def _end(self, key: Key, now: Reading, state: str) -> None:
        """Take a session out. One that was too short for a write, such as a launcher's, is not recorded."""
        game, session = self._running.pop(key)
        end_s = game.ended_s()
        if end_s is None or end_s < game.since_s:
            end_s = now.time_s
        if session.id:
            self._ended.append((session, state, end_s - game.since_s))

    def _advance(self) -> Reading:
        now = self._read()
        for key, (_, session) in self._running.items():
            session.advance(now)
            session.frames = self._frames.figures(key)
        return now

    # ---- writes ----------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._advance()
        before, self._sampled = self._sampled or now, now
        for _, session in self._running.values():
            session.profile = now.profile  # at the end of a game its profile is no longer active
        self._write(sample(before, now))
        self._timer = self._loop.call_later(self._limits.every_s, self._tick, name="sessions")

    def _write(self, taken: Sample | None) -> None:
        """Write all that runs and all that ended. Input may interrupt it, because sqlite shares no state with input."""
        begun = time.monotonic_ns()
        try:
            self._loop.run_interruptible(self._write_all, taken)
        except (SessionError, OSError) as err:
            self.write_errors += 1
            if not self.error:
                log.error("sessions are not written: %s", err)
            self.error = printable(str(err), 200)
            self._drop()
        else:
            self.error = ""
        self.write_max_ns = max(self.write_max_ns, time.monotonic_ns() - begun)

    def _write_all(self, taken: Sample | None) -> None:
        if self._db is None:
            self._db = open_for_writing(self._path)
        rows: list[tuple[Session, str, float, Sample | None]] = [
            (*ended, None) for ended in self._ended
        ]
        for key, (_, session) in self._running.items():
            at_s = max(0.0, session.last.time_s - session.since_s)
            placed = None
            if taken is not None:
                placed = taken._replace(at_s=round(at_s, 1), **self._frames.lately(key))  # type: ignore[arg-type]
            rows.append((session, RUNNING, at_s, placed))
        self._db.write(rows)
        if self._ended:
            self.recorded += len(self._ended)
            self.last_ended = self._ended[-1][0].id
            self._ended.clear()
            self._db.prune(self._limits.days, self._limits.size)

    def _rest(self) -> None:
        """Hold nothing while no game runs. A session that could not be written waits for the next one's writes."""
        self._timer.cancel()
        self._drop()
        self._sampled = None

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            try:
                self._loop.run_interruptible(db.close)
            except SessionError as err:
                log.warning("%s", err)

    def delete(self, session: int | None, uid: int) -> int:
        """Delete sessions that have ended; see Database.delete(). Raises SessionError."""
        if self._db is not None:
            return self._db.delete(session, uid)
        if not self._path.exists():
            return 0
        with open_for_writing(self._path) as db:
            return db.delete(session, uid)


def sample(before: Reading, now: Reading) -> Sample:
    """Return the sample, but for its time, of the seconds between two readings."""
    seconds = max(now.time_s - before.time_s, 0.001)
    found = figures(before, now, ())
    cpu_s, lost = found["cpu_s"], found["taken"]
    others = [name for name in now.classes if name not in FAVOURED]
    game, rest = merged(found["waits"], FAVOURED), merged(found["waits"], others)

    def cpus(names: Iterable[str]) -> float | None:
        return round(sum(cpu_s.get(name, 0) for name in names) / seconds, 3) if cpu_s else None

    return Sample(
        at_s=0.0,
        game_cpu=cpus(FAVOURED),
        others_cpu=cpus(others),
        wait_p99_us=game["p99_us"] if game else None,
        wait_max_us=game["longest_us"] if game else None,
        others_p99_us=rest["p99_us"] if rest else None,
        taken_ms=round(lost["others_s"] * 1e3, 3) if lost else None,
        taken_by=lost["programs"][0]["program"] if lost and lost["programs"] else None,
    )
